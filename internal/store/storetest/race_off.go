//go:build !race

package storetest

func rounds(n int) int { return n }
