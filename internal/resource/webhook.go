package resource

import (
	"context"
	"reflect"
	"time"

	"github.com/freshet-dev/freshet"
)

func webhooks() Kind {
	return Define(Spec[freshet.Webhook]{
		Name: "webhooks", One: "webhook",
		Doc: "Receivers of events, signed with HMAC-SHA256 over timestamp and body.",
		Words: map[reflect.Type]map[string][]string{
			reflect.TypeFor[freshet.Webhook](): {"events": freshet.WebhookEvents},
		},
		Check: func(c *Check, _ string, w *freshet.Webhook) {
			c.URL("url", w.URL)
			// RFC 2104 §3 discourages keys shorter than the hash.
			if n := w.Secret.Len(); n < 32 {
				c.Warn("secret", "signs with %d bytes: 32 random ones cannot be guessed (openssl rand -hex 32)", n)
			}
		},
	})
}

// Webhook returns a webhook with its secret, and when it was declared. The error
// wraps freshet.ErrNotFound for a name that nobody declared.
func (b *Book) Webhook(ctx context.Context, name string) (*freshet.Webhook, time.Time, error) {
	row, err := b.row(ctx, Key{"webhooks", name})
	if err != nil {
		return nil, time.Time{}, err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, time.Time{}, err
	}
	return v.(*freshet.Webhook), row.CreatedAt, nil
}
