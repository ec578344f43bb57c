package resource

// Cached returns how many definitions are kept in memory.
func (b *Book) Cached() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.defs)
}
