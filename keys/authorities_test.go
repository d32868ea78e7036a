package keys_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

func lists(names ...string) func(*configv1.Provider) {
	return certificateOf(func(c *configv1.ClientCertificate) { c.CrlFiles = names })
}

func crlPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// TestRevocation: what a list says is in force with the provider that has read it, for remembered certificates too.
func TestRevocation(t *testing.T) {
	f := newCertificateFixture(t)
	good, bad := f.authority.Issue(svid(workload)), f.authority.Issue(svid(workload))
	for _, encode := range []func([]byte) []byte{func(der []byte) []byte { return der }, crlPEM} {
		f.files["a.crl"] = encode(f.authority.Revoke(nil))
		auth := f.auth(t, lists("a.crl"))
		for _, leaf := range []*keystest.Certificate{good, bad} {
			if got, detail := why(t, auth, shows(leaf.Encoded())); got != policy.NoReason {
				t.Fatalf("%v (%s)", got, detail)
			}
		}
		f.files["a.crl"] = encode(f.authority.Revoke(nil, bad.Certificate))
		auth = f.auth(t, lists("a.crl"))
		if got, _ := why(t, auth, shows(bad.Encoded())); got != policy.Revoked {
			t.Errorf("a withdrawn certificate: %v", got)
		}
		if got, detail := why(t, auth, shows(good.Encoded())); got != policy.NoReason {
			t.Errorf("another one: %v (%s)", got, detail)
		}
	}
	// Where nobody can say whether it is withdrawn, nobody is let in, not even one that is remembered.
	auth := f.auth(t, lists("a.crl"))
	for _, c := range []struct {
		after     time.Duration
		good, bad policy.Reason
	}{
		{0, policy.NoReason, policy.Revoked},
		{time.Hour - time.Nanosecond, policy.NoReason, policy.Revoked},
		{time.Hour, policy.Unavailable, policy.Revoked},
		{-time.Hour + time.Second, policy.NoReason, policy.Revoked},
	} {
		f.now = instant.Add(c.after)
		if got, detail := why(t, auth, shows(good.Encoded())); got != c.good {
			t.Errorf("after %v: %v (%s), want %v", c.after, got, detail, c.good)
		}
		if got, detail := why(t, auth, shows(bad.Encoded())); got != c.bad {
			t.Errorf("after %v, withdrawn: %v (%s), want %v", c.after, got, detail, c.bad)
		}
	}
	f.now = instant
	f.files["a.crl"] = f.authority.Revoke(func(l *x509.RevocationList) { l.ThisUpdate = instant.Add(time.Minute) })
	if got, detail := why(t, f.auth(t, lists("a.crl")), shows(good.Encoded())); got != policy.Unavailable {
		t.Errorf("a list that is not in force yet: %v (%s)", got, detail)
	}
}

// TestRevocationFiles: a file that is no whole list of an authority is an error at load.
func TestRevocationFiles(t *testing.T) {
	f := newCertificateFixture(t)
	list, leaf := f.authority.Revoke(nil), f.authority.Issue(svid(workload))
	extension := func(id ...int) []pkix.Extension {
		return []pkix.Extension{{Id: asn1.ObjectIdentifier(id), Critical: true, Value: []byte{0x30, 0}}}
	}
	altered := bytes.Clone(list)
	altered[len(altered)-1] ^= 1
	for name, data := range map[string][]byte{
		"missing": nil, "empty": {}, "garbage": []byte("garbage"), "garbage that begins like DER": []byte("0garbage"), "cut": list[:len(list)-1], "cut PEM": crlPEM(list)[:80],
		"one and a half": append(crlPEM(list), crlPEM(list)[:80]...), "a certificate": leaf.PEM(), "altered": altered, "bytes behind it": append(bytes.Clone(list), 0),
		"of a stranger":            keystest.NewAuthority("other", instant).Revoke(nil),
		"of one of the same name":  keystest.NewAuthority("root", instant).Revoke(nil),
		"two of one authority":     append(crlPEM(list), crlPEM(f.authority.Revoke(nil, leaf.Certificate))...),
		"a list of changes":        f.authority.Revoke(func(l *x509.RevocationList) { l.ExtraExtensions = extension(2, 5, 29, 27) }),
		"a list of some":           f.authority.Revoke(func(l *x509.RevocationList) { l.ExtraExtensions = extension(2, 5, 29, 28) }),
		"entries of other issuers": f.authority.Revoke(func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ExtraExtensions = extension(2, 5, 29, 29) }, leaf.Certificate),
		"an unmarked list of changes": f.authority.Revoke(func(l *x509.RevocationList) {
			l.ExtraExtensions = extension(2, 5, 29, 27)
			l.ExtraExtensions[0].Critical = false
		}),
	} {
		f.files["a.crl"] = data
		if data == nil {
			delete(f.files, "a.crl")
		}
		var field *policy.FieldError
		if provider, err := f.provider(lists("a.crl")); provider != nil || !errors.As(err, &field) || field.Field != "client_certificate.crl_files[0]" {
			t.Errorf("%s: %v, %v", name, provider, err)
		}
	}
	f.files["a.crl"], f.files["b.crl"] = list, list
	if _, err := f.provider(lists("a.crl", "b.crl")); err == nil || !strings.Contains(err.Error(), "a.crl") {
		t.Errorf("one list in two files: %v", err)
	}
}

// TestChains: authorities between the root and the caller, in the file or with the caller, and their own revocation.
func TestChains(t *testing.T) {
	f := newCertificateFixture(t)
	between := f.authority.Intermediate("between")
	leaf := between.Issue(svid(workload))
	direct := shows(leaf.Encoded())
	if got, _ := why(t, f.auth(t), direct); got != policy.WrongIssuer {
		t.Errorf("without the intermediate: %v", got)
	}
	hop := certificateOf(func(c *configv1.ClientCertificate) {
		c.Forwarded = &configv1.ForwardedCertificate{Addresses: []string{"192.0.2.7"}}
	})
	chain := `;Chain="` + keystest.EncodePEM(slices.Concat(leaf.PEM(), between.PEM())) + `"`
	through := shows("")
	through.Headers = policy.Headers{{Name: "x-forwarded-client-cert", Value: element(leaf) + chain}}
	if got, detail := why(t, f.auth(t, hop), through); got != policy.NoReason {
		t.Errorf("with the intermediate in Chain: %v (%s)", got, detail)
	}
	stranger := keystest.NewAuthority("root", instant).Intermediate("between")
	foreign := stranger.Issue(svid(workload))
	through.Headers[0].Value = element(foreign) + `;Chain="` + keystest.EncodePEM(slices.Concat(foreign.PEM(), stranger.PEM())) + `"`
	if got, _ := why(t, f.auth(t, hop), through); got != policy.WrongIssuer {
		t.Errorf("a chain to a stranger: %v", got)
	}

	f.files["root.crl"] = f.authority.Revoke(nil)
	through.Headers[0].Value = element(leaf) + chain
	if got, detail := why(t, f.auth(t, hop, lists("root.crl")), through); got != policy.Unavailable {
		t.Errorf("no list of the intermediate: %v (%s)", got, detail)
	}
	f.files["ca.pem"] = slices.Concat([]byte("# the root\n"), f.authority.PEM(), []byte("# and what it has issued\n"), between.PEM())
	if got, detail := why(t, f.auth(t), direct); got != policy.NoReason {
		t.Errorf("with the intermediate in the file: %v (%s)", got, detail)
	}
	f.files["between.crl"] = slices.Concat(crlPEM(between.Revoke(nil)), crlPEM(f.authority.Revoke(nil)))
	if got, detail := why(t, f.auth(t, lists("between.crl")), direct); got != policy.NoReason {
		t.Errorf("with lists of both: %v (%s)", got, detail)
	}
	f.files["between.crl"] = between.Revoke(nil, leaf.Certificate)
	if got, detail := why(t, f.auth(t, lists("between.crl", "root.crl")), direct); got != policy.Revoked {
		t.Errorf("withdrawn by the intermediate: %v (%s)", got, detail)
	}
	f.files["between.crl"], f.files["root.crl"] = between.Revoke(nil), f.authority.Revoke(nil, between.Certificate)
	if got, detail := why(t, f.auth(t, lists("between.crl", "root.crl")), direct); got != policy.Revoked {
		t.Errorf("an intermediate that the root has withdrawn: %v (%s)", got, detail)
	}

	// A root that has expired ends what it vouches for, remembered or not.
	f.files["ca.pem"] = f.authority.PEM()
	auth := f.auth(t)
	long := shows(f.authority.Issue(func(c *x509.Certificate) { svid(workload)(c); c.NotAfter = instant.Add(48 * time.Hour) }).Encoded())
	for after, want := range map[time.Duration]policy.Reason{0: policy.NoReason, 24*time.Hour + time.Second: policy.WrongIssuer} {
		f.now = instant.Add(after)
		if got, detail := why(t, auth, long); got != want {
			t.Errorf("the root after %v: %v (%s), want %v", after, got, detail, want)
		}
	}
}

// TestCertificateConfiguration: what is not whole is refused, also where no file was read that has constraints.
func TestCertificateConfiguration(t *testing.T) {
	f := newCertificateFixture(t)
	f.files["a.crl"] = f.authority.Revoke(nil)
	for name, c := range map[string]struct {
		change func(*configv1.ClientCertificate)
		field  string
	}{
		"neither ca nor envoy": {func(c *configv1.ClientCertificate) { c.CaFile = "" }, "client_certificate.ca_file"},
		"both":                 {func(c *configv1.ClientCertificate) { c.VerifiedByEnvoy = true }, "client_certificate.ca_file"},
		"lists without ca": {func(c *configv1.ClientCertificate) {
			c.CaFile, c.VerifiedByEnvoy, c.CrlFiles = "", true, []string{"a.crl"}
		}, "client_certificate.crl_files"},
		"no id":                      {func(c *configv1.ClientCertificate) { c.Id = 0 }, "client_certificate.id"},
		"an id that there is not":    {func(c *configv1.ClientCertificate) { c.Id = 99 }, "client_certificate.id"},
		"no trust domain":            {func(c *configv1.ClientCertificate) { c.TrustDomains = nil }, "client_certificate.trust_domains"},
		"two for one set of roots":   {func(c *configv1.ClientCertificate) { c.TrustDomains = []string{"a", "b"} }, "client_certificate.trust_domains"},
		"trust domain in upper case": {func(c *configv1.ClientCertificate) { c.TrustDomains = []string{"Cluster.local"} }, "client_certificate.trust_domains[0]"},
		"a trust domain for dns":     {func(c *configv1.ClientCertificate) { c.Id = configv1.CertificateName_CERTIFICATE_NAME_DNS }, "client_certificate.trust_domains"},
		"two stars in a part": {func(c *configv1.ClientCertificate) {
			c.Names = []string{"spiffe://cluster.local/a", "spiffe://cluster.local/*a*"}
		}, "client_certificate.names[1]"},
		"a control character": {func(c *configv1.ClientCertificate) { c.Names = []string{"a\x00"} }, "client_certificate.names[0]"},
		"nobody is trusted":   {func(c *configv1.ClientCertificate) { c.Forwarded = &configv1.ForwardedCertificate{} }, "client_certificate.forwarded"},
		"an empty principal": {func(c *configv1.ClientCertificate) {
			c.Forwarded = &configv1.ForwardedCertificate{Principals: []string{""}}
		}, "client_certificate.forwarded"},
		"a name without Envoy": {func(c *configv1.ClientCertificate) { c.NameSuffices = true }, "client_certificate.name_suffices"},
		"a name that is no URI": {func(c *configv1.ClientCertificate) {
			c.CaFile, c.VerifiedByEnvoy, c.NameSuffices, c.Id, c.TrustDomains = "", true, true, configv1.CertificateName_CERTIFICATE_NAME_DNS, nil
		}, "client_certificate.name_suffices"},
		"no address": {func(c *configv1.ClientCertificate) {
			c.Forwarded = &configv1.ForwardedCertificate{Addresses: []string{"gateway"}}
		}, "client_certificate.forwarded.addresses[0]"},
	} {
		var field *policy.FieldError
		if provider, err := f.provider(certificateOf(c.change)); provider != nil || !errors.As(err, &field) || field.Field != c.field {
			t.Errorf("%s: %v, %v; want an error in %s", name, provider, err, c.field)
		}
	}
	for field, change := range map[string]func(*configv1.Provider){
		"from": func(p *configv1.Provider) {
			p.From = []*configv1.Location{{Place: &configv1.Location_Header{Header: "x"}}}
		},
		"forward": func(p *configv1.Provider) { p.Forward = true },
	} {
		var fault *policy.FieldError
		if _, err := f.provider(change); !errors.As(err, &fault) || fault.Field != field {
			t.Errorf("%v, want an error in %s", err, field)
		}
	}
	if _, err := f.store.Provider(certificateConfig(), keys.Files{}); err == nil {
		t.Error("a provider whose files cannot be read")
	}
}
