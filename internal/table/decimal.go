package table

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// A Decimal is an exact number: Unscaled / 10^Scale.
type Decimal struct {
	Unscaled int64
	Scale    int // 2 or 5
}

// String writes all digits of the scale: 12.50.
func (d Decimal) String() string {
	s := strconv.FormatInt(d.Unscaled, 10)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	if len(s) <= d.Scale {
		s = strings.Repeat("0", d.Scale-len(s)+1) + s
	}
	return sign + s[:len(s)-d.Scale] + "." + s[len(s)-d.Scale:]
}

// MarshalJSON writes a number.
func (d Decimal) MarshalJSON() ([]byte, error) { return []byte(d.String()), nil }

// Float64 returns the nearest number of a script.
func (d Decimal) Float64() float64 {
	f, _ := strconv.ParseFloat(d.String(), 64)
	return f
}

var (
	errNumber = errors.New("is not a number")
	errRange  = errors.New("is out of range")
)

// parseDecimal reads a number into the scale, rounding half away from zero.
func parseDecimal(text string, scale int) (Decimal, error) {
	r, err := exact(text)
	if err != nil {
		return Decimal{}, err
	}
	scaled := new(big.Rat).Mul(r, new(big.Rat).SetInt(pow10(scale)))
	// floor(2|x|+1)/2 is |x| rounded half up.
	num := new(big.Int).Lsh(new(big.Int).Abs(scaled.Num()), 1)
	num.Add(num, scaled.Denom())
	num.Quo(num, new(big.Int).Lsh(scaled.Denom(), 1))
	if scaled.Sign() < 0 {
		num.Neg(num)
	}
	if !num.IsInt64() || num.Int64() == -1<<63 { // the last one is where filters cut numbers that are less
		return Decimal{}, errRange
	}
	return Decimal{num.Int64(), scale}, nil
}

// exact reads a decimal number as it is written. big.Rat alone would also take
// fractions and hexadecimal, and would fill memory for 1e999999999.
func exact(text string) (*big.Rat, error) {
	if len(text) > 64 || strings.Trim(text, "0123456789+-.eE") != "" {
		return nil, errNumber
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if e, err := strconv.Atoi(text[i+1:]); err != nil {
			return nil, errNumber
		} else if e > 40 || e < -40 {
			return nil, errRange
		}
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, errNumber
	}
	return r, nil
}

func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }
