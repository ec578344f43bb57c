package vault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"

	"github.com/freshet-dev/freshet"
)

// ProofKey returns the P-256 key that a connection's tokens are bound to with
// DPoP (RFC 9449), as PKCS #8 in PEM. It is derived, not stored: a refresh
// token that is bound to a key is lost with it, so the key must live exactly as
// long as the connection, through every rotation of the keys that seal.
func (v *Vault) ProofKey(id freshet.ConnectionID) (freshet.Secret, error) {
	order := elliptic.P256().Params().N
	// 256 bits reduced modulo the order: the bias is below 2^-32, far under what
	// a signature could show.
	d := new(big.Int).SetBytes(v.Digest("dpop proof key", freshet.NewSecret(string(id))))
	d.Mod(d, new(big.Int).Sub(order, big.NewInt(1))).Add(d, big.NewInt(1))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
	if err != nil {
		return freshet.Secret{}, fmt.Errorf("derive proof key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return freshet.Secret{}, fmt.Errorf("derive proof key: %w", err)
	}
	return freshet.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))), nil
}
