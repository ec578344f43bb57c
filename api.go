package freshet

import "maps"

// API returns where d's tokens may be sent and how: what the connection says,
// over the defaults of its provider. Its zero value, with no BaseURL, is that of
// a connection that only hands out tokens. The result shares its lists and maps
// with d: read only.
func (d *Definition) API() API {
	var a API
	if d.Provider.API != nil {
		a = *d.Provider.API
	}
	if c := d.Connection.API; c != nil {
		if c.BaseURL != "" {
			a.BaseURL = c.BaseURL
		}
		if c.Hosts != nil {
			a.Hosts = c.Hosts
		}
		if c.Inject != nil {
			a.Inject = c.Inject
		}
		if c.Headers != nil {
			merged := maps.Clone(a.Headers)
			if merged == nil {
				merged = map[string]string{}
			}
			maps.Copy(merged, c.Headers)
			a.Headers = merged
		}
		if c.Verify != nil {
			a.Verify = c.Verify
		}
		if c.Paths != nil {
			a.Paths = c.Paths
		}
		if c.Methods != nil {
			a.Methods = c.Methods
		}
		a.WebSocket = a.WebSocket || c.WebSocket
		a.Cookies = a.Cookies || c.Cookies
		a.ScanEcho = a.ScanEcho || c.ScanEcho
		if c.Rejected != nil {
			a.Rejected = c.Rejected
		}
	}
	if a.Rejected == nil {
		a.Rejected = &d.Provider.Rejected
	}
	return a
}

// Variable returns the value of a blank in d's URLs and templates: the
// connection's, else the client's, else the provider's default.
func (d *Definition) Variable(name string) (string, bool) {
	if v, ok := d.Connection.Variables[name]; ok {
		return v, true
	}
	if v, ok := d.Client.Variables[name]; ok {
		return v, true
	}
	if v, ok := d.Provider.Variables[name]; ok && (v.Default != "" || v.Optional) {
		return v.Default, true
	}
	return "", false
}
