package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// authority issues certificates.
type authority struct {
	t           testing.TB
	certificate *x509.Certificate
	private     crypto.Signer
	serial      int64
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: instant.Add(-time.Hour), NotAfter: instant.Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, certificate, private, 1}
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

func uri(t testing.TB, text string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// issue returns a certificate in PEM.
func (a *authority) issue(change func(*x509.Certificate)) string {
	a.t.Helper()
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: "orders", Organization: []string{"Acme"}},
		NotBefore: instant.Add(-time.Minute), NotAfter: instant.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{uri(a.t, "spiffe://cluster.local/ns/shop/sa/orders")}, DNSNames: []string{"orders.example"},
	}
	if change != nil {
		change(template)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.private)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// list withdraws certificates by their serial numbers.
func (a *authority) list(next time.Time, serials ...int64) string {
	a.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: instant.Add(-time.Hour), NextUpdate: next}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: instant})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.certificate, a.private)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func encoded(text string) string {
	return strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D").Replace(text)
}

func shown(certificate string) *policy.Request {
	return &policy.Request{Source: policy.Peer{Address: "10.0.0.7", Principal: "x", Certificate: encoded(certificate)}}
}

func certified(t testing.TB, store *keys.Store, message *configv1.ClientCertificate, files map[string]string) (*keys.Provider, error) {
	t.Helper()
	return store.Provider(&configv1.Provider{Name: "mesh", Kind: &configv1.Provider_ClientCertificate{ClientCertificate: message}}, keys.Files{Read: func(path string) ([]byte, error) {
		if text, ok := files[path]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}})
}

// result is the principal's id, or the reason of a denial or a fault.
func result(t testing.TB, auth *keys.Authenticator, req *policy.Request) string {
	t.Helper()
	outcome, err := auth.Evaluate(t.Context(), req, &policy.Principal{})
	var fault *policy.StageError
	switch {
	case errors.As(err, &fault):
		return fault.Reason.String()
	case err != nil:
		t.Fatal(err)
	case outcome.Verdict == policy.Passed:
		return outcome.Principal.ID
	}
	return outcome.Reason.String()
}

const workload = "spiffe://cluster.local/ns/shop/sa/orders"

func mesh() *configv1.ClientCertificate {
	return &configv1.ClientCertificate{TrustDomains: []string{"cluster.local"}}
}

// A certificate is a caller by one name of one kind, compared as text (THREATS a.7: several SANs, names read as patterns).
func TestCertificateNames(t *testing.T) {
	f := newFixture(t)
	ca := newAuthority(t, "ca")
	uris := func(texts ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.URIs = nil
			for _, text := range texts {
				c.URIs = append(c.URIs, uri(t, text))
			}
		}
	}
	named := func(id configv1.CertificateName, names ...string) *configv1.ClientCertificate {
		return &configv1.ClientCertificate{Id: id, Names: names}
	}
	only := func(names ...string) *configv1.ClientCertificate { m := mesh(); m.Names = names; return m }
	for name, c := range map[string]struct {
		message *configv1.ClientCertificate
		change  func(*x509.Certificate)
		want    string
	}{
		"a workload": {mesh(), nil, workload}, "two URIs": {mesh(), uris(workload, workload), "invalid_claims"}, "no URI": {mesh(), uris(), "invalid_claims"},
		"another trust domain": {mesh(), uris("spiffe://cluster.local.evil/ns/shop/sa/orders"), "wrong_issuer"}, "another scheme": {mesh(), uris("https://cluster.local/ns/shop/sa/orders"), "invalid_claims"},
		"a trust domain alone": {mesh(), uris("spiffe://cluster.local"), "invalid_claims"}, "dots in the path": {mesh(), uris("spiffe://cluster.local/ns/../sa"), "invalid_claims"},
		"a query": {mesh(), uris(workload + "?a=b"), "invalid_claims"}, "a port": {mesh(), uris("spiffe://cluster.local:1/a"), "invalid_claims"}, "upper case": {mesh(), uris("SPIFFE://Cluster.Local/ns/shop/sa/orders"), "invalid_claims"},
		"on the list": {only(workload), nil, workload}, "by its beginning": {only("spiffe://cluster.local/ns/shop/*"), nil, workload}, "not on the list": {only("spiffe://cluster.local/ns/shop/sa/order"), nil, "invalid_claims"},
		"a dot is a dot": {only("spiffe://cluster.local/ns/shop/sa/order."), nil, "invalid_claims"}, "a longer one": {only(workload), uris(workload + "s"), "invalid_claims"},
		"a DNS name": {named(configv1.CertificateName_CERTIFICATE_NAME_DNS, "*.example"), nil, "orders.example"}, "a DNS name within another": {named(configv1.CertificateName_CERTIFICATE_NAME_DNS, "orders.example"), func(c *x509.Certificate) { c.DNSNames = []string{"orders.example.evil"} }, "invalid_claims"},
		"two DNS names": {named(configv1.CertificateName_CERTIFICATE_NAME_DNS), func(c *x509.Certificate) { c.DNSNames = []string{"a", "b"} }, "invalid_claims"},
		"a common name": {named(configv1.CertificateName_CERTIFICATE_NAME_COMMON_NAME), nil, "orders"}, "no common name": {named(configv1.CertificateName_CERTIFICATE_NAME_COMMON_NAME), func(c *x509.Certificate) { c.Subject.CommonName = "" }, "invalid_claims"},
		"NUL in a common name": {named(configv1.CertificateName_CERTIFICATE_NAME_COMMON_NAME), func(c *x509.Certificate) { c.Subject.CommonName = "orders\x00.evil" }, "malformed_credential"},
		"the subject":          {named(configv1.CertificateName_CERTIFICATE_NAME_SUBJECT), nil, "CN=orders,O=Acme"}, "a mail address": {named(configv1.CertificateName_CERTIFICATE_NAME_EMAIL), func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.example"} }, "a@b.example"},
		"a URI": {named(configv1.CertificateName_CERTIFICATE_NAME_URI), uris("urn:orders"), "urn:orders"}, "expired": {mesh(), func(c *x509.Certificate) { c.NotAfter = instant.Add(-time.Second) }, "expired"},
		"not yet": {mesh(), func(c *x509.Certificate) { c.NotBefore = instant.Add(time.Second) }, "not_yet_valid"}, "an authority": {mesh(), func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, "malformed_credential"},
		"who may sign others": {mesh(), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }, "malformed_credential"},
	} {
		provider, err := certified(t, f.store, c.message, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		auth := keys.NewAuthenticator([]*keys.Provider{provider})
		req := shown(ca.issue(c.change))
		for _, when := range []string{"first", "again"} {
			if got := result(t, auth, req); got != c.want {
				t.Errorf("%s, %s: %s, want %s", name, when, got, c.want)
			}
		}
	}
}

func TestCertificateTexts(t *testing.T) {
	f := newFixture(t)
	ca := newAuthority(t, "ca")
	provider, err := certified(t, f.store, mesh(), nil)
	if err != nil {
		t.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{provider})
	good := ca.issue(nil)
	for text, want := range map[string]string{
		encoded(good): workload, good + good: "malformed_credential", "": "missing_credential", "x": "malformed_credential", "%zz": "malformed_credential",
		encoded(good)[:200]: "malformed_credential", encoded(strings.ReplaceAll(good, "CERTIFICATE", "PRIVATE KEY")): "malformed_credential", strings.Repeat("a", 65<<10): "malformed_credential",
	} {
		if got := result(t, auth, &policy.Request{Source: policy.Peer{Certificate: text}}); got != want {
			t.Errorf("%.30q: %s, want %s", text, got, want)
		}
	}
	if got := result(t, auth, &policy.Request{Source: policy.Peer{Principal: workload}}); got != "unavailable" {
		t.Errorf("a principal without its certificate: %s", got)
	}
	// A header is nothing where the configuration does not name it.
	if got := result(t, auth, &policy.Request{Source: policy.Peer{Address: "127.0.0.1"}, Headers: policy.Headers{{Name: "x-forwarded-client-cert", Value: `Cert="` + encoded(good) + `"`}}}); got != "missing_credential" {
		t.Errorf("a header that nobody asked for: %s", got)
	}
	now := f.now
	if f.now = now.Add(time.Hour + time.Second); result(t, auth, shown(good)) != "expired" {
		t.Error("a certificate that was good once is not looked at again")
	}
}

// TestForwardedCertificates: the header is believed of the configured hops alone, and its element is the one that they added.
func TestForwardedCertificates(t *testing.T) {
	f := newFixture(t)
	ca := newAuthority(t, "ca")
	good := encoded(ca.issue(nil))
	other := encoded(ca.issue(func(c *x509.Certificate) { c.URIs[0].Path = "/ns/evil/sa/evil" }))
	for name, c := range map[string]struct {
		element uint32
		address string
		headers []string
		want    string
	}{
		"one": {1, "10.1.2.3", []string{`By=spiffe://a;Hash=00;Cert="` + good + `";Subject="CN=\"a,b\";x";URI=` + workload}, workload}, "in another order of case": {1, "10.1.2.3", []string{`cert="` + good + `"`}, workload},
		"not quoted": {1, "10.1.2.3", []string{`Cert=` + good}, workload}, "the last of two": {1, "10.1.2.3", []string{`Cert="` + other + `",Cert="` + good + `"`}, workload},
		"the one before the last": {2, "10.1.2.3", []string{`Cert="` + other + `",Cert="` + good + `",Hash=0`}, workload}, "a client's own in front": {1, "10.1.2.3", []string{`Cert="` + other + `",Hash=0`}, "missing_credential"},
		"too few": {2, "10.1.2.3", []string{`Cert="` + good + `"`}, "missing_credential"}, "nobody's hop": {1, "192.0.2.1", []string{`Cert="` + good + `"`}, "missing_credential"}, "no address": {1, "", []string{`Cert="` + good + `"`}, "missing_credential"},
		"an IPv4 address as IPv6": {1, "::ffff:10.1.2.3", []string{`Cert="` + good + `"`}, workload}, "none": {1, "10.1.2.3", nil, "missing_credential"}, "two lines": {1, "10.1.2.3", []string{`Cert="` + good + `"`, `Cert="` + other + `"`}, "malformed_credential"},
		"two in one element": {1, "10.1.2.3", []string{`Cert="` + good + `";Cert="` + other + `"`}, "malformed_credential"}, "a quote without end": {1, "10.1.2.3", []string{`Cert="` + good}, "malformed_credential"},
		"text behind a quote": {1, "10.1.2.3", []string{`Cert="` + good + `"x`}, "malformed_credential"}, "empty": {1, "10.1.2.3", []string{""}, "malformed_credential"}, "an element without pairs": {1, "10.1.2.3", []string{`Cert="` + good + `",`}, "malformed_credential"},
	} {
		message := mesh()
		message.Forwarded = &configv1.ForwardedCertificate{Hops: []string{"10.0.0.0/8"}, Element: c.element}
		provider, err := certified(t, f.store, message, nil)
		if err != nil {
			t.Fatal(err)
		}
		req := &policy.Request{Source: policy.Peer{Address: c.address, Principal: "spiffe://cluster.local/hop", Certificate: other}}
		for _, value := range c.headers {
			req.Headers = append(req.Headers, policy.Header{Name: "x-forwarded-client-cert", Value: value})
		}
		if got := result(t, keys.NewAuthenticator([]*keys.Provider{provider}), req); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestAuthorities: who is vouched for by none, withdrawn, or of whom that is not known, is not let in.
func TestAuthorities(t *testing.T) {
	f := newFixture(t)
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	namesake := newAuthority(t, "ca")
	good, gone := ca.issue(nil), ca.issue(nil) // serial numbers 2 and 3
	server := ca.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	message := func(lists ...string) *configv1.ClientCertificate {
		m := mesh()
		m.CaFile, m.CrlFiles = "ca.pem", lists
		return m
	}
	files := map[string]string{
		"ca.pem": ca.pem() + other.pem(), "ca.crl": ca.list(instant.Add(time.Minute), 3), "old.crl": ca.list(instant.Add(-time.Second)), "other.crl": other.list(instant.Add(time.Minute)),
		"namesake.crl": namesake.list(instant.Add(time.Minute)), "empty": "", "garbage": "garbage", "half": ca.pem()[:300], "key.pem": "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
	}
	for name, c := range map[string]struct {
		message     *configv1.ClientCertificate
		certificate string
		want        string
	}{
		"good": {message(), good, workload}, "another authority": {message(), namesake.issue(nil), "invalid_signature"}, "a server's": {message(), server, "invalid_signature"},
		"not withdrawn": {message("ca.crl"), good, workload}, "withdrawn": {message("ca.crl"), gone, "revoked"}, "of an issuer without a list": {message("other.crl"), good, "unavailable"},
		"an overdue list": {message("old.crl"), good, "unavailable"}, "two lists": {message("other.crl", "ca.crl"), gone, "revoked"},
	} {
		provider, err := certified(t, f.store, c.message, files)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		auth := keys.NewAuthenticator([]*keys.Provider{provider})
		for _, when := range []string{"first", "again"} {
			if got := result(t, auth, shown(c.certificate)); got != c.want {
				t.Errorf("%s, %s: %s, want %s", name, when, got, c.want)
			}
		}
		if name == "not withdrawn" {
			f.now = instant.Add(time.Minute)
			if got := result(t, auth, shown(c.certificate)); got != "unavailable" {
				t.Errorf("when the next list is overdue: %s", got)
			}
			f.now = instant
		}
	}
	bad := func(ca string, lists ...string) *configv1.ClientCertificate {
		m := message(lists...)
		m.CaFile = ca
		return m
	}
	for name, c := range map[string]struct {
		message *configv1.ClientCertificate
		field   string
	}{
		"no file": {bad("gone.pem"), "ca_file"}, "empty": {bad("empty"), "ca_file"}, "garbage": {bad("garbage"), "ca_file"}, "half": {bad("half"), "ca_file"}, "a key": {bad("key.pem"), "ca_file"},
		"no list": {bad("ca.pem", "gone.crl"), "crl_files[0]"}, "an empty list": {bad("ca.pem", "empty"), "crl_files[0]"}, "a garbled list": {bad("ca.pem", "garbage"), "crl_files[0]"},
		"a list of a namesake": {bad("ca.pem", "namesake.crl"), "crl_files[0]"}, "one list twice": {bad("ca.pem", "ca.crl", "ca.crl"), "crl_files[1]"}, "no authority": {bad("", "ca.crl"), "crl_files"},
		"no trust domain": {&configv1.ClientCertificate{}, "trust_domains"}, "an odd trust domain": {&configv1.ClientCertificate{TrustDomains: []string{"spiffe://a"}}, "trust_domains[0]"},
		"a trust domain for nothing": {&configv1.ClientCertificate{TrustDomains: []string{"a"}, Id: configv1.CertificateName_CERTIFICATE_NAME_DNS}, "trust_domains"},
		"no hop":                     {&configv1.ClientCertificate{TrustDomains: []string{"a"}, Forwarded: &configv1.ForwardedCertificate{}}, "forwarded.hops"},
	} {
		var fault *policy.FieldError
		if _, err := certified(t, f.store, c.message, files); !errors.As(err, &fault) || fault.Field != "client_certificate."+c.field {
			t.Errorf("%s: %v, want an error in %s", name, err, c.field)
		}
	}
}

// FuzzForwarded: whatever a hop passes on, it is read without a fault, and nobody is let in whose certificate it does not hold.
func FuzzForwarded(f *testing.F) {
	fix := newFixture(f)
	good := encoded(newAuthority(f, "ca").issue(nil))
	message := mesh()
	message.Forwarded = &configv1.ForwardedCertificate{Hops: []string{"10.0.0.0/8"}}
	provider, err := certified(f, fix.store, message, nil)
	if err != nil {
		f.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{provider})
	for _, seed := range []string{`Cert="C"`, `By=a;Cert="C",Hash=0`, `Cert=C;Subject="a\"b,;"`, `,`, `=`, `Cert="`, `a="\`, `Cert="C"x`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ReplaceAll(text, "C\"", good+"\"")
		got := result(t, auth, &policy.Request{Source: policy.Peer{Address: "10.0.0.1"}, Headers: policy.Headers{{Name: "x-forwarded-client-cert", Value: text}}})
		if got == workload && !strings.Contains(text, good) {
			t.Errorf("%q lets %s in", text, got)
		}
	})
}
