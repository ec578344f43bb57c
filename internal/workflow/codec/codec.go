// Package codec has the activities that turn one text into another: Base64, the
// claims of a JSON Web Token, Markdown and HTML. They need nothing but their
// fields.
package codec

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// The outcomes.
const (
	success = "Success"
	failed  = "Failed"
)

// maxText bounds what is converted: trees of markup take many times its size.
const maxText = 8 << 20

// Specs are the activities of this package.
func Specs() []activity.Spec {
	return []activity.Spec{jwtDecoder(), toBase64(), fromBase64(), toHTML(), toMarkdown()}
}

func done(v any) (activity.Result, error) {
	return activity.Result{Outcomes: []string{success}, Outputs: map[string]any{"Output": v}}, nil
}

func output(doc string) []activity.Output { return []activity.Output{{Name: "Output", Doc: doc}} }

func jwtDecoder() activity.Spec {
	return activity.Spec{
		Type: "JWTDecoder", DisplayName: "Decode JWT", Category: "Utilities",
		Summary: "Reads the claims of a JSON Web Token, without checking who issued it.",
		Doc:     "Nothing is verified: anybody can write a token with any claims. Use it on tokens that came from where you asked for them, never to decide who a caller is. A token that cannot be read takes `Failed`.",
		Fields: []activity.Field{
			{Name: "Token", Doc: "the token; `Bearer ` before it is taken off", Kind: activity.Text},
		},
		Outcomes: []string{success, failed},
		Outputs:  append(output("the claims as JSON text"), activity.Output{Name: "FailReason", Doc: "why it could not be read"}),
		Examples: []activity.Example{
			{Doc: "claims", In: `{"Token":"eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMiIsImV4cCI6MTcwMDAwMDAwMH0."}`, Outcomes: []string{success}, Out: `{"Output":"{\"sub\":\"12\",\"exp\":1700000000}"}`},
			{Doc: "not a token", In: `{"Token":"opaque"}`, Outcomes: []string{failed}, Out: `{"Output":null,"FailReason":"not a JSON Web Token: it has no three parts with dots between them"}`},
		},
		Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			token := strings.TrimSpace(c.Text("Token"))
			if scheme, rest, ok := strings.Cut(token, " "); ok && strings.EqualFold(scheme, "Bearer") {
				token = strings.TrimSpace(rest)
			}
			c.Run.Secret(token)
			claims, err := Claims(token)
			if err != nil {
				return activity.Result{Outcomes: []string{failed}, Outputs: map[string]any{"Output": nil, "FailReason": err.Error()}, Message: err.Error()}, nil
			}
			res, err := done(claims)
			res.Message = "read, not verified"
			return res, err
		},
	}
}

// Claims returns the claims of a JSON Web Token as JSON text. It verifies
// nothing.
func Claims(token string) (string, error) {
	if len(token) > maxText {
		return "", fmt.Errorf("not a JSON Web Token: it is longer than %d bytes", maxText)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("not a JSON Web Token: it has no three parts with dots between them")
	}
	b, err := decode(parts[1])
	if err != nil {
		return "", errors.New("not a JSON Web Token: its second part is not Base64")
	}
	v, err := model.ParseJSON(b)
	if claims, ok := v.(model.JSON); err == nil && ok && strings.HasPrefix(string(claims), "{") {
		return string(claims), nil
	}
	return "", errors.New("not a JSON Web Token: its second part is no JSON object")
}

// decode reads Base64 of either alphabet, padded or not, broken into lines or
// not.
func decode(s string) ([]byte, error) {
	s = strings.Map(func(r rune) rune {
		switch r {
		case '-':
			return '+'
		case '_':
			return '/'
		case ' ', '\t', '\r', '\n':
			return -1
		}
		return r
	}, s)
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}

func toBase64() activity.Spec {
	return activity.Spec{
		Type: "ByteArrayToBase64", DisplayName: "Byte Array to Base64", Category: "Utilities",
		Summary:  "Writes bytes as Base64.",
		Fields:   []activity.Field{{Name: "bytes", Doc: "bytes, a list of numbers, or a text", Kind: activity.Any}},
		Outcomes: []string{success}, Outputs: output("the text"),
		Examples: []activity.Example{
			{Doc: "a text", In: `{"bytes":"a+b"}`, Outcomes: []string{success}, Out: `{"Output":"YSti"}`},
			{Doc: "a list", In: `{"bytes":[0,255]}`, Out: `{"Output":"AP8="}`},
			{Doc: "no bytes", In: `{"bytes":[256]}`, Fault: "0 to 255"},
		},
		Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			b, err := asBytes(c.Value("bytes"))
			if err != nil {
				return activity.Result{}, fmt.Errorf("bytes: %w", err)
			}
			return done(base64.StdEncoding.EncodeToString(b))
		},
	}
}

func asBytes(v any) ([]byte, error) {
	switch v := model.Plain(v).(type) {
	case nil:
		return nil, nil
	case []byte:
		return v, nil
	case string:
		return []byte(v), nil
	case []any:
		out := make([]byte, len(v))
		for i, e := range v {
			f, ok := e.(float64)
			if n, whole := e.(int64); whole {
				f, ok = float64(n), true
			}
			if !ok || f < 0 || f > 255 || f != float64(byte(f)) {
				return nil, fmt.Errorf("element %d is no number from 0 to 255", i)
			}
			out[i] = byte(f)
		}
		return out, nil
	}
	return nil, errors.New("neither bytes, a list of numbers nor a text")
}

func fromBase64() activity.Spec {
	return activity.Spec{
		Type: "Base64ToByteArray", DisplayName: "Base64 to Byte Array", Category: "Utilities",
		Summary:  "Reads Base64.",
		Fields:   []activity.Field{{Name: "Base64String", Doc: "the text, of either alphabet; a data: URL's head is taken off", Kind: activity.Text}},
		Outcomes: []string{success}, Outputs: output("the bytes"),
		Examples: []activity.Example{
			{Doc: "padded", In: `{"Base64String":"YSti"}`, Outcomes: []string{success}, Out: `{"Output":"YSti"}`}, // JSON shows bytes as Base64
			{Doc: "no Base64", In: `{"Base64String":"a*b"}`, Fault: "not Base64"},
		},
		Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			s := strings.TrimSpace(c.Text("Base64String"))
			if strings.HasPrefix(s, "data:") {
				_, s, _ = strings.Cut(s, ",")
			}
			b, err := decode(s)
			if err != nil {
				return activity.Result{}, errors.New("Base64String: not Base64")
			}
			return done(b)
		},
	}
}
