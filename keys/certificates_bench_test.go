package keys_test

import (
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// BenchmarkCertificate: a certificate that is remembered beside one that is read, and verified, at each request.
func BenchmarkCertificate(b *testing.B) {
	for name, change := range map[string]func(*configv1.ClientCertificate){
		"envoy": func(c *configv1.ClientCertificate) { c.CaFile, c.VerifiedByEnvoy = "", true },
		"chain": func(*configv1.ClientCertificate) {},
		"list":  func(c *configv1.ClientCertificate) { c.CrlFiles = []string{"a.crl"} },
		"header": func(c *configv1.ClientCertificate) {
			c.Forwarded = &configv1.ForwardedCertificate{Addresses: []string{"10.0.0.0/8"}}
		},
	} {
		for _, remembered := range []bool{true, false} {
			b.Run(name+map[bool]string{true: "/remembered", false: "/read"}[remembered], func(b *testing.B) {
				f := newCertificateFixture(b)
				if !remembered {
					// Every reading of this clock is a microsecond later, and what is cached is stale after less.
					ticking := instant
					f.store = newStore(b, keys.Options{
						Now:   func() time.Time { ticking = ticking.Add(time.Microsecond); return ticking },
						Cache: keys.CacheLimits{MaxAge: time.Nanosecond},
					})
				}
				f.files["a.crl"] = f.authority.Revoke(nil)
				auth := f.auth(b, certificateOf(change))
				shown := f.authority.Issue(svid(workload))
				req := shows(shown.Encoded())
				if name == "header" {
					req = through("10.0.0.1", "", element(shown))
				}
				b.ReportAllocs()
				for b.Loop() {
					outcome, err := auth.Evaluate(b.Context(), req, &policy.Principal{})
					if err != nil || outcome.Principal == nil {
						b.Fatalf("%+v, %v", outcome, err)
					}
				}
			})
		}
	}
}
