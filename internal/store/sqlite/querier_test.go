package sqlite

import "testing"

func TestPositional(t *testing.T) {
	for in, want := range map[string]string{
		`INSERT INTO t VALUES ($1, $2), ($3, $4)`: `INSERT INTO t VALUES (?, ?), (?, ?)`,
		`SELECT 1`:                                    `SELECT 1`,
		`UPDATE t SET a = $2 WHERE b = $1`:            `UPDATE t SET a = $2 WHERE b = $1`,
		`UPDATE t SET a = $1 WHERE b = $1`:            `UPDATE t SET a = $1 WHERE b = $1`,
		`VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)`: `VALUES (?,?,?,?,?,?,?,?,?,?,?)`,
	} {
		if got := positional(in); got != want {
			t.Errorf("positional(%q) = %q, want %q", in, got, want)
		}
	}
}
