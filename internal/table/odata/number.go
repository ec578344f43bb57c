package odata

import (
	"math/big"
	"strconv"
	"strings"
)

// A Number is exact: Unscaled / 10^Scale.
type Number struct {
	Unscaled int64
	Scale    int // 0 to 18
}

// maxScale is how many digits may come after the point.
const maxScale = 18

// parseNumber reads digits with a point at most, as "-12.50".
func parseNumber(s string) (Number, bool) {
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 {
		return Number{}, false
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole+fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return Number{}, false
	}
	fraction = strings.TrimRight(fraction, "0")
	whole = strings.TrimLeft(whole, "0")
	if len(fraction) > maxScale {
		return Number{}, false
	}
	if whole+fraction == "" {
		return Number{}, true
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(s[:len(s)-len(digits)], "+")+whole+fraction, 10, 64)
	return Number{n, len(fraction)}, err == nil
}

// String writes n with the digits of its scale, without the zeros at its end.
func (n Number) String() string {
	if n.Scale == 0 {
		return strconv.FormatInt(n.Unscaled, 10)
	}
	s := new(big.Rat).SetFrac(big.NewInt(n.Unscaled), pow10(n.Scale)).FloatString(n.Scale)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// Compare orders two numbers: -1, 0 or 1.
func (n Number) Compare(o Number) int {
	if n.Scale == o.Scale {
		switch {
		case n.Unscaled < o.Unscaled:
			return -1
		case n.Unscaled > o.Unscaled:
			return 1
		}
		return 0
	}
	return n.big(max(n.Scale, o.Scale)).Cmp(o.big(max(n.Scale, o.Scale)))
}

// big is n times 10^scale, which is not less than its own.
func (n Number) big(scale int) *big.Int {
	return new(big.Int).Mul(big.NewInt(n.Unscaled), pow10(scale-n.Scale))
}

func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// At returns the whole number of 10^-scale that is n or next below it, and
// whether it is n itself. A number beyond 64 bits is cut to their ends, and not
// exact.
func (n Number) At(scale int) (whole int64, exact bool) {
	b := n.big(max(n.Scale, scale))
	if n.Scale > scale {
		rest := new(big.Int)
		b.DivMod(b, pow10(n.Scale-scale), rest) // Euclidean: the rest is not negative
		exact = rest.Sign() == 0
	} else {
		exact = true
	}
	if !b.IsInt64() {
		if b.Sign() < 0 {
			return -1 << 63, false
		}
		return 1<<63 - 1, false
	}
	return b.Int64(), exact
}

// round, floor and ceiling make whole numbers of n.
func (n Number) round() Number {
	if n.Scale == 0 {
		return n
	}
	half := Number{Unscaled: 5, Scale: 1}
	if n.Unscaled < 0 {
		m := Number{-n.Unscaled, n.Scale}.round()
		return Number{Unscaled: -m.Unscaled}
	}
	w := n.floor()
	rest := new(big.Int).Sub(n.big(n.Scale), w.big(n.Scale))
	if rest.Cmp(half.big(n.Scale)) >= 0 {
		w.Unscaled++
	}
	return w
}

func (n Number) floor() Number {
	w, _ := n.At(0)
	return Number{Unscaled: w}
}

func (n Number) ceiling() Number {
	w, exact := n.At(0)
	if !exact {
		w++
	}
	return Number{Unscaled: w}
}
