//go:build !nextprotocol

package store

const nextProtocol = 0
