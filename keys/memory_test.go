package keys_test

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// message is the memory of a request's texts, which are not copied out of it.
type message struct{ parts [][]byte }

func (m *message) text(text string) string {
	part := []byte(text)
	m.parts = append(m.parts, part)
	return unsafe.String(unsafe.SliceData(part), len(part))
}

func (m *message) overwrite() {
	for _, part := range m.parts {
		for i := range part {
			part[i] = '#'
		}
	}
}

// A principal that is remembered holds no text of the request that it came with: that would keep the whole message in memory, which
// the cache's limit in bytes does not count, and an edge may use the memory again.
func TestPrincipalsKeepNothingOfTheRequest(t *testing.T) {
	tokens, certificates := newFixture(t), newCertificateFixture(t)
	named := certificateOf(func(c *configv1.ClientCertificate) { c.CaFile, c.VerifiedByEnvoy, c.NameSuffices = "", true, true })
	leaf := certificates.authority.Issue(svid(workload))
	hash := strings.Repeat("0a", 32)
	for name, c := range map[string]struct {
		auth *keys.Authenticator
		req  func(m *message) *policy.Request
	}{
		"token": {tokens.auth, func(m *message) *policy.Request { return withToken(m.text(tokens.issuer.Token(keystest.Claims{}))) }},
		"name": {certificates.auth(t, named), func(m *message) *policy.Request {
			return &policy.Request{Source: policy.Peer{Principal: m.text(workload)}}
		}},
		"certificate": {certificates.auth(t), func(m *message) *policy.Request { return shows(m.text(leaf.Encoded())) }},
		"forwarded": {certificates.auth(t, certificateOf(trusting)), func(m *message) *policy.Request {
			return through("10.0.0.1", "", m.text("Hash="+hash+";URI="+workload+";DNS=a.example"))
		}},
		"forwarded certificate": {certificates.auth(t, certificateOf(trusting)), func(m *message) *policy.Request { return through("10.0.0.1", "", m.text(element(leaf))) }},
	} {
		var m message
		outcome, err := evaluate(t, c.auth, c.req(&m))
		if err != nil || outcome.Principal == nil {
			t.Fatalf("%s: %+v, %v", name, outcome, err)
		}
		before := strings.Clone(cmp.Diff((*policy.Principal)(nil), outcome.Principal))
		m.overwrite()
		if after := cmp.Diff((*policy.Principal)(nil), outcome.Principal); after != before {
			t.Errorf("%s:\n%s", name, after)
		}
	}
}
