package resource

import (
	"strings"

	"github.com/freshet-dev/freshet"
)

var networkKey = Key{"network", "network"}

func network() Kind {
	return Define(Spec[freshet.Network]{
		Name: "network", One: "network", Single: true,
		Doc: "Which addresses may be reached although they are not public.",
		Check: func(c *Check, _ string, n *freshet.Network) {
			for i, e := range n.Allow {
				if _, err := newAllowance([]string{e}); err != nil {
					c.Fault(index("allow", i), "%s", strings.TrimPrefix(err.Error(), "network.allow: "))
				}
			}
		},
	})
}
