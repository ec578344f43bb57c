package dial

import "net/netip"

// denied lists what is not the public internet. net/netip's own predicates
// (IsPrivate, IsLoopback, …) know about half of these.
var denied = prefixes(
	"0.0.0.0/8",       // this network, RFC 791
	"10.0.0.0/8",      // private, RFC 1918
	"100.64.0.0/10",   // carrier-grade NAT, RFC 6598
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link local, RFC 3927
	"172.16.0.0/12",   // private, RFC 1918
	"192.0.0.0/24",    // IETF protocol assignments, RFC 6890
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // 6to4 relay, RFC 7526
	"192.168.0.0/16",  // private, RFC 1918
	"198.18.0.0/15",   // benchmarking, RFC 2544
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and the broadcast address

	"2001::/23",     // IETF protocol assignments: Teredo, ORCHID, benchmarking
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4: an IPv4 address in disguise
	"3fff::/20",     // documentation, RFC 9637
)

// global is the only part of IPv6 that is handed out. All else is refused
// without a list: ::1, ::127.0.0.1, 64:ff9b::/96, 64:ff9b:1::/48, 100::/64,
// 5f00::/16, fc00::/7, fe80::/10, fec0::/10, ff00::/8.
var global = netip.MustParsePrefix("2000::/3")

// metadata are the addresses at which clouds hand credentials to whoever asks
// from inside. No allowlist opens them.
var metadata = prefixes(
	"169.254.169.254/32", // AWS, Azure, GCP, and most others
	"169.254.169.253/32", // AWS resolver
	"169.254.169.123/32", // AWS time, same service
	"169.254.170.2/32",   // AWS task credentials
	"169.254.170.23/32",  // AWS pod identity
	"169.254.42.42/32",   // Scaleway
	"168.63.129.16/32",   // Azure wire server
	"100.100.100.200/32", // Alibaba
	"192.0.0.192/32",     // Oracle
	"fd00:ec2::/32",      // AWS over IPv6, all its services
	"fd20:ce::254/128",   // GCP over IPv6
	"fd00:42::42/128",    // Scaleway over IPv6
	"fe80::a9fe:a9fe/128",
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Public reports whether a is an address of the public internet.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	if a.Is6() && !global.Contains(a) {
		return false
	}
	return !within(denied, a) && !isMetadata(a)
}

// isMetadata also looks into the IPv4 address that an IPv6 address embeds.
func isMetadata(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if within(metadata, a) {
		return true
	}
	v4, ok := embedded(a)
	return ok && within(metadata, v4)
}

// embedded returns the IPv4 address within an IPv6 address whose prefix says
// that there is one, as a NAT64 gateway or a tunnel would take it out again.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	at := func(i int) (netip.Addr, bool) { return netip.AddrFrom4([4]byte(b[i : i+4])), true }
	switch {
	case within(nat64, a), within(compatible, a):
		return at(12)
	case within(sixToFour, a):
		return at(2)
	case within(teredo, a): // the client's address, inverted; the server's is plain
		if server, _ := at(4); within(metadata, server) {
			return server, true
		}
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	}
	return netip.Addr{}, false
}

var (
	nat64      = prefixes("64:ff9b::/96", "64:ff9b:1::/48")
	compatible = prefixes("::/96")
	sixToFour  = prefixes("2002::/16")
	teredo     = prefixes("2001::/32")
)
