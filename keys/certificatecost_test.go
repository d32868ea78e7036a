package keys_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"runtime"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// A certificate is read before anyone has vouched for it, where Envoy lets any in: it costs no more than its size allows
// (THREATS a.7, CVE-2025-58187 and its kind).
func TestHostileCertificatesAreCheap(t *testing.T) {
	f := newCertificateFixture(t)
	auth := f.auth(t)
	stranger := keystest.NewAuthority("stranger", instant)
	attributes := func(count int, kind ...int) *policy.Request {
		return shows(stranger.Issue(func(c *x509.Certificate) {
			svid(workload)(c)
			for range count {
				c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier(kind), Value: "a"})
			}
		}).Encoded())
	}
	names := func(count, tag int, name string) *policy.Request {
		return shows(keystest.EncodePEM(stranger.IssueRaw(alternatives(tag, strings.Split(strings.Repeat(name+",", count), ",")[:count]...))))
	}
	for name, c := range map[string]struct {
		req  *policy.Request
		want policy.Reason
	}{
		"100 units":           {attributes(100, 2, 5, 4, 11), policy.WrongIssuer},
		"101 units":           {attributes(101, 2, 5, 4, 11), policy.MalformedCredential},
		"3,000 units":         {attributes(3000, 2, 5, 4, 11), policy.MalformedCredential},
		"3,000 odd ones":      {attributes(3000, 1, 2, 3), policy.MalformedCredential},
		"1,000 URIs":          {names(1000, 6, "a:"), policy.WrongIssuer},
		"9,000 URIs":          {names(9000, 6, "a:"), policy.MalformedCredential},
		"9,000 DNS names":     {names(9000, 2, "a"), policy.MalformedCredential},
		"9,000 unknown names": {names(9000, 8, "a"), policy.MalformedCredential},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const runs = 10
		for range runs {
			if got, detail := why(t, auth, c.req); got != c.want {
				t.Fatalf("%s: %v (%s), want %v", name, got, detail, c.want)
			}
		}
		runtime.ReadMemStats(&after)
		if allocated := (after.TotalAlloc - before.TotalAlloc) / runs; allocated > 1<<20 {
			t.Errorf("%s: %d bytes are allocated", name, allocated)
		}
	}
}

// A key that a caller brings in its chain is one to verify signatures with, and that takes time that grows with its size.
func TestHugeKeysInAChain(t *testing.T) {
	f := newCertificateFixture(t)
	auth := f.auth(t, certificateOf(func(c *configv1.ClientCertificate) {
		c.Forwarded = &configv1.ForwardedCertificate{Addresses: []string{"192.0.2.7"}}
	}))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "root"}, NotBefore: instant, NotAfter: instant.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
	}
	leaf := f.authority.Issue(svid(workload))
	for bits, want := range map[int]policy.Reason{8192: policy.NoReason, 8200: policy.MalformedCredential, 16384: policy.MalformedCredential} {
		odd := make([]byte, bits/8) // no product of primes: nothing is verified with it that is good
		_, _ = rand.Read(odd)
		odd[0], odd[len(odd)-1] = odd[0]|0x80, odd[len(odd)-1]|1
		der, err := x509.CreateCertificate(rand.Reader, template, template, &rsa.PublicKey{N: new(big.Int).SetBytes(odd), E: 65537}, key)
		if err != nil {
			der, err = x509.CreateCertificate(rand.Reader, template, f.authority.Certificate, &rsa.PublicKey{N: new(big.Int).SetBytes(odd), E: 65537}, key)
		}
		if err != nil {
			t.Fatal(err)
		}
		req := shows("")
		req.Headers = policy.Headers{{Name: "x-forwarded-client-cert", Value: element(leaf) + `;Chain="` + keystest.EncodePEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + `"`}}
		if got, detail := why(t, auth, req); got != want {
			t.Errorf("%d bits: %v (%s), want %v", bits, got, detail, want)
		}
	}
}
