package resource

// InvalidateAll forgets all that is cached: resources changed, and nobody knows
// which.
func (b *Book) InvalidateAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.epoch++
	clear(b.defs)
	clear(b.parts)
}
