package table

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/table/odata"
)

// List lists rows of a table. The error is a NotFoundError for a table that is
// not there and a FilterError for a filter or order that cannot be carried out.
func (s *Session) List(ctx context.Context, table string, q Query) ([]*Row, error) {
	var out []*Row
	sc, err := s.each(ctx, table, q, func(r *Row) error {
		out = append(out, r)
		return nil
	})
	if err != nil || !q.Expand {
		return out, err
	}
	return out, s.expand(ctx, sc, out)
}

// Each visits the rows that List lists, without holding them all if an index
// orders them. It expands nothing. visit must not use the tables.
func (s *Session) Each(ctx context.Context, table string, q Query, visit func(r *Row) error) error {
	_, err := s.each(ctx, table, q, visit)
	return err
}

func (s *Session) each(ctx context.Context, table string, q Query, visit func(r *Row) error) (*Schema, error) {
	sc, err := s.t.schema(ctx, table)
	if err != nil {
		return nil, err
	}
	q.Skip, q.Limit = max(q.Skip, 0), max(q.Limit, 0)
	p, err := sc.plan(q, false)
	if err != nil {
		return nil, err
	}
	if s.t.scan {
		p.cond, p.exact = nil, false
	}
	rq := store.RowQuery{Table: sc.ID, Where: p.cond}
	if q.After > 0 {
		rq.Where = &store.RowCond{Op: store.RowAnd, Of: []store.RowCond{{Op: store.RowGreater, Num: q.After}}}
		if p.cond != nil {
			rq.Where.Of = append(rq.Where.Of, *p.cond)
		}
	}
	if p.sorted {
		rq.Order = p.by
	}
	whole := p.sorted && (p.exact || p.filter == nil)
	if whole {
		rq.Skip, rq.Limit = q.Skip, q.Limit
	}
	hits := sorter{plan: p}
	if q.Limit > 0 {
		hits.limit = q.Skip + q.Limit
	}
	skip, n := q.Skip, 0
	err = s.t.o.Store.FindRows(ctx, rq, func(r store.Row) (bool, error) {
		if !whole {
			data, err := decodeCells(r.Data)
			if err != nil {
				return false, fmt.Errorf("read row %d of table %s: %w", r.ID, sc.Name, err)
			}
			if !p.exact && !odata.Match(p.filter, sc.getter(r, data)) {
				return true, nil
			}
			if !p.sorted {
				hits.add(r, data)
				return true, nil
			}
			if skip > 0 {
				skip--
				return true, nil
			}
		}
		row, err := s.row(sc, r)
		if err != nil {
			return false, err
		}
		n++
		return whole || q.Limit == 0 || n < q.Limit, visit(row)
	})
	if err != nil || p.sorted {
		return sc, err
	}
	for _, r := range hits.page(q.Skip, q.Limit) {
		row, err := s.row(sc, r)
		if err != nil {
			return sc, err
		}
		if err := visit(row); err != nil {
			return sc, err
		}
	}
	return sc, nil
}

// getter reads a row as filters see it.
func (s *Schema) getter(r store.Row, data cells) func(string) any {
	return func(name string) any {
		if c, ok := s.Column(name); ok {
			return c.operand(data[c.ID])
		}
		if name == versionName {
			return odata.Number{Unscaled: r.Version}
		}
		return odata.Number{Unscaled: r.ID}
	}
}

// A sorter orders rows that no index orders, and keeps the first limit of them;
// 0: all. It is a heap with the last of those on top.
type sorter struct {
	plan  *plan
	limit int
	hits  []hit
}

type hit struct {
	row  store.Row
	keys []any
}

func (s *sorter) add(r store.Row, data cells) {
	h := hit{row: r, keys: make([]any, len(s.plan.order))}
	for i, k := range s.plan.order {
		switch {
		case k.version:
			h.keys[i] = odata.Number{Unscaled: r.Version}
		case k.column == nil:
			h.keys[i] = odata.Number{Unscaled: r.ID}
		default:
			h.keys[i] = k.column.operand(data[k.column.ID])
			if text, ok := h.keys[i].(string); ok {
				h.keys[i] = key(text) // as an index would order it
			}
		}
	}
	switch {
	case s.limit == 0:
		s.hits = append(s.hits, h)
	case len(s.hits) < s.limit:
		heap.Push(s, h)
	case s.compare(h, s.hits[0]) < 0:
		s.hits[0] = h
		heap.Fix(s, 0)
	}
}

func (s *sorter) compare(a, b hit) int {
	for i, k := range s.plan.order {
		n := odata.Order(a.keys[i], b.keys[i])
		if k.desc {
			n = -n
		}
		if n != 0 {
			return n
		}
	}
	switch {
	case a.row.ID < b.row.ID:
		return -1
	case a.row.ID > b.row.ID:
		return 1
	}
	return 0
}

// page ends the sorting and returns rows after skip.
func (s *sorter) page(skip, limit int) []store.Row {
	slices.SortStableFunc(s.hits, s.compare)
	hits := s.hits[min(max(skip, 0), len(s.hits)):]
	if limit > 0 && limit < len(hits) {
		hits = hits[:limit]
	}
	out := make([]store.Row, len(hits))
	for i := range hits {
		out[i] = hits[i].row
	}
	return out
}

// Len, Less, Swap, Push and Pop are those of a heap.
func (s *sorter) Len() int           { return len(s.hits) }
func (s *sorter) Less(i, j int) bool { return s.compare(s.hits[i], s.hits[j]) > 0 }
func (s *sorter) Swap(i, j int)      { s.hits[i], s.hits[j] = s.hits[j], s.hits[i] }
func (s *sorter) Push(x any)         { s.hits = append(s.hits, x.(hit)) }
func (s *sorter) Pop() any {
	h := s.hits[len(s.hits)-1]
	s.hits = s.hits[:len(s.hits)-1]
	return h
}

// expand puts rows in the place of the numbers that refer to them, one level
// deep: what those refer to stays a number, so that a circle ends.
func (s *Session) expand(ctx context.Context, sc *Schema, rows []*Row) error {
	known := map[int64]*Row{}
	for i := range sc.Columns {
		c := &sc.Columns[i]
		if c.Type != Reference {
			continue
		}
		for _, r := range rows {
			id, ok := r.Values[c.Name].(int64)
			if !ok {
				continue
			}
			to, seen := known[id]
			if !seen {
				var err error
				if to, err = s.Get(ctx, id, false); err != nil && !errors.Is(err, ErrNoRow) {
					return err
				}
				known[id] = to
			}
			if to != nil {
				r.Values[c.Name] = to
			}
		}
	}
	return nil
}
