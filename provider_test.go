package freshet_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
)

func TestValuesTakeScalars(t *testing.T) {
	var v freshet.Values
	if err := json.Unmarshal([]byte(`{"expiring":1,"on":true,"rate":1.50,"name":"x\u0041","none":""}`), &v); err != nil {
		t.Fatal(err)
	}
	want := freshet.Values{"expiring": "1", "on": "true", "rate": "1.50", "name": "xA", "none": ""}
	for name, w := range want {
		if got, ok := v[name]; !ok || got != w {
			t.Errorf("%s = %q, want %q", name, got, w)
		}
	}
	if len(v) != len(want) {
		t.Errorf("got %d values, want %d", len(v), len(want))
	}
	if err := json.Unmarshal([]byte(`null`), &v); err != nil || v != nil {
		t.Errorf("null gives %v, %v; want none", v, err)
	}
	for _, bad := range []string{`{"a":{}}`, `{"a":[1]}`, `{"a":null}`, `["a"]`, `"a"`} {
		err := json.Unmarshal([]byte(bad), &v)
		if err == nil {
			t.Errorf("%s is taken", bad)
		} else if strings.HasPrefix(bad, `{"a"`) && !strings.Contains(err.Error(), "a: a value is text") {
			t.Errorf("%s: %v does not name the value", bad, err)
		}
	}
}
