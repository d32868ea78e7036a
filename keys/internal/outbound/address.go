package outbound

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"syscall"
)

// ErrPrivateAddress is why nothing was sent: the server's address is not public.
var ErrPrivateAddress = errors.New("the address is not a public one, and private_addresses does not allow any other")

// publicOnly refuses to connect to an address that is not public. It is asked with the address that is dialled, whatever name
// has led there.
func publicOnly(_ context.Context, _, address string, _ syscall.RawConn) error {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil || !Public(parsed.Addr()) {
		return ErrPrivateAddress
	}
	return nil
}

// publicHost refuses a host that is itself an address that is not public, or this machine. Any other name may lead anywhere.
func publicHost(host string) error {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return ErrPrivateAddress
	}
	address, err := netip.ParseAddr(host)
	if err == nil && !Public(address) {
		return ErrPrivateAddress
	}
	if err != nil && looksLikeIPv4(host) { // a form that only some readers know: 127.1, 0x7f000001, 2130706433
		return ErrPrivateAddress
	}
	return nil
}

// looksLikeIPv4 reports whether the last label of a host is a number, which none of the public DNS is (WHATWG URL, section 3.5).
func looksLikeIPv4(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if strings.HasPrefix(last, "0x") {
		return strings.Trim(last[2:], "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// notPublic are the parts of IPv4, and of the global unicast part of IPv6, that are nobody's on the Internet: the special
// purposes that IANA lists (RFC 6890 and its updates).
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("10.0.0.0/8"),      // private
	netip.MustParsePrefix("100.64.0.0/10"),   // behind a carrier's translation
	netip.MustParsePrefix("127.0.0.0/8"),     // this machine
	netip.MustParsePrefix("169.254.0.0/16"),  // this link, and what clouds tell machines about themselves
	netip.MustParsePrefix("172.16.0.0/12"),   // private
	netip.MustParsePrefix("192.0.0.0/24"),    // protocols
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("192.88.99.0/24"),  // relays of 6to4
	netip.MustParsePrefix("192.168.0.0/16"),  // private
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("224.0.0.0/3"),     // multicast, reserved, broadcast

	netip.MustParsePrefix("2001::/23"),     // protocols, Teredo among them
	netip.MustParsePrefix("2001:db8::/32"), // documentation
	netip.MustParsePrefix("2002::/16"),     // 6to4, which has an IPv4 address inside
	netip.MustParsePrefix("3fff::/20"),     // documentation
}

var (
	// globalUnicast is all of IPv6 that is given out (RFC 4291, section 2.4). The rest is this machine's, this link's, this
	// site's, everyone's, or has an IPv4 address inside.
	globalUnicast = netip.MustParsePrefix("2000::/3")
	// translated is IPv4 as a network that has IPv6 alone reaches it (RFC 6052, section 2.1).
	translated = netip.MustParsePrefix("64:ff9b::/96")
)

// Public reports whether an address is one of the Internet's. One of IPv4 that is written as IPv6 is what it stands for.
func Public(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	if translated.Contains(address) {
		bytes := address.As16()
		address = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	if !address.IsValid() || address.Is6() && !globalUnicast.Contains(address) {
		return false
	}
	for _, prefix := range notPublic {
		if prefix.Contains(address) {
			return false
		}
	}
	return true
}
