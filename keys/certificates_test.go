package keys_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const workload = "spiffe://cluster.local/ns/shop/sa/orders"

// certificateFixture is an authority and a store on one clock, and the files that providers may name.
type certificateFixture struct {
	*clock
	authority *keystest.Authority
	store     *keys.Store
	files     map[string][]byte
}

func newCertificateFixture(t testing.TB) *certificateFixture {
	t.Helper()
	f := &certificateFixture{clock: &clock{instant}, authority: keystest.NewAuthority("root", instant)}
	f.store = newStore(t, keys.Options{Now: f.Now})
	f.files = map[string][]byte{"ca.pem": f.authority.PEM()}
	return f
}

// certificateConfig is a provider of SPIFFE IDs of cluster.local, whose chains end at ca.pem.
func certificateConfig() *configv1.Provider {
	return &configv1.Provider{Name: "mesh", Kind: &configv1.Provider_ClientCertificate{ClientCertificate: &configv1.ClientCertificate{
		CaFile: "ca.pem", Id: configv1.CertificateName_CERTIFICATE_NAME_SPIFFE_ID, TrustDomains: []string{"cluster.local"},
	}}}
}

func (f *certificateFixture) provider(changes ...func(*configv1.Provider)) (*keys.Provider, error) {
	cfg := certificateConfig()
	for _, change := range changes {
		change(cfg)
	}
	return f.store.Provider(cfg, keys.Files{Read: func(path string) ([]byte, error) {
		data, ok := f.files[path]
		if !ok {
			return nil, fmt.Errorf("reading %s: no such file", path)
		}
		return data, nil
	}})
}

func (f *certificateFixture) auth(t testing.TB, changes ...func(*configv1.Provider)) *keys.Authenticator {
	t.Helper()
	provider, err := f.provider(changes...)
	if err != nil {
		t.Fatal(err)
	}
	return keys.NewAuthenticator([]*keys.Provider{provider})
}

// certificateOf changes the provider's message.
func certificateOf(change func(*configv1.ClientCertificate)) func(*configv1.Provider) {
	return func(p *configv1.Provider) { change(p.GetClientCertificate()) }
}

// named makes the id another name than the SPIFFE ID.
func named(kind configv1.CertificateName, names ...string) func(*configv1.Provider) {
	return certificateOf(func(c *configv1.ClientCertificate) { c.Id, c.TrustDomains, c.Names = kind, nil, names })
}

// svid gives a certificate these URIs.
func svid(uris ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, text := range uris {
			uri, err := url.Parse(text)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, uri)
		}
	}
}

// alternatives writes the subject alternative names as they are, where crypto/x509 would tidy or refuse them.
func alternatives(tag int, names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		var list []asn1.RawValue
		for _, name := range names {
			list = append(list, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(name)})
		}
		der, err := asn1.Marshal(list)
		if err != nil {
			panic(err)
		}
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der})
	}
}

func subject(name pkix.Name) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject = name }
}

// shows is a request whose connection shows a certificate.
func shows(text string) *policy.Request {
	return &policy.Request{Source: policy.Peer{Address: "192.0.2.7", Certificate: text}}
}

// why returns the reason of a denial, NoReason for a caller that is accepted, and what the operator is told.
func why(t testing.TB, auth *keys.Authenticator, req *policy.Request) (policy.Reason, string) {
	t.Helper()
	outcome, err := evaluate(t, auth, req)
	var known *policy.StageError
	switch {
	case errors.As(err, &known):
		return known.Reason, err.Error()
	case err != nil:
		t.Fatal(err)
	case outcome.Verdict == policy.Passed:
		return policy.NoReason, ""
	}
	if !cmp.Equal(outcome.Challenges, []string{`ClientCertificate realm="kasbah"`}) {
		t.Errorf("the challenges are %q", outcome.Challenges)
	}
	return outcome.Reason, outcome.Detail
}

func TestCertificatePrincipal(t *testing.T) {
	f := newCertificateFixture(t)
	shown := f.authority.Issue(func(c *x509.Certificate) {
		svid(workload)(c)
		c.Subject = pkix.Name{CommonName: "orders, of the shop", OrganizationalUnit: []string{"pci", "backend"}, Organization: []string{"Acme"}}
		c.DNSNames, c.EmailAddresses = []string{"orders.shop.svc", "Orders"}, []string{"ops@acme.example"}
	})
	auth := f.auth(t, certificateOf(func(c *configv1.ClientCertificate) {
		c.Roles, c.OrganizationalUnitRoles = []string{"workload", "pci"}, true
	}))
	req := shows(shown.Encoded())
	req.Source.Principal = workload
	outcome, err := evaluate(t, auth, req)
	if err != nil {
		t.Fatal(err)
	}
	want := &policy.Principal{
		ID: workload, Provider: "mesh", Subject: workload, Issuer: "spiffe://cluster.local",
		Roles: []string{"workload", "pci", "backend"}, Expires: shown.NotAfter,
		Claims: map[string]any{
			"subject": `CN=orders\, of the shop,OU=pci+OU=backend,O=Acme`, "issuer": "CN=root", "common_name": "orders, of the shop",
			"organizational_units": []any{"pci", "backend"}, "uris": []any{workload}, "dns": []any{"orders.shop.svc", "Orders"},
			"emails": []any{"ops@acme.example"}, "serial": shown.SerialNumber.Text(16), "fingerprint": shown.Fingerprint(),
			"not_before": float64(shown.NotBefore.Unix()), "not_after": float64(shown.NotAfter.Unix()),
		},
	}
	if diff := cmp.Diff(want, outcome.Principal); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for range 3 {
		if _, err := evaluate(t, auth, req); err != nil {
			t.Fatal(err)
		}
	}
	if stats := f.store.CacheStats(); stats.Misses != 1 || stats.Hits != 3 {
		t.Errorf("%+v, and a certificate is verified once", stats)
	}
}

// TestCertificateNames: which name is the id, and whether it is accepted.
func TestCertificateNames(t *testing.T) {
	const (
		spiffe = configv1.CertificateName_CERTIFICATE_NAME_SPIFFE_ID
		uri    = configv1.CertificateName_CERTIFICATE_NAME_URI
		dns    = configv1.CertificateName_CERTIFICATE_NAME_DNS
		email  = configv1.CertificateName_CERTIFICATE_NAME_EMAIL
		cn     = configv1.CertificateName_CERTIFICATE_NAME_COMMON_NAME
		dn     = configv1.CertificateName_CERTIFICATE_NAME_SUBJECT
	)
	const uriTag, dnsTag, emailTag = 6, 2, 1
	f := newCertificateFixture(t)
	for name, c := range map[string]struct {
		kind    configv1.CertificateName
		allowed []string
		made    func(*x509.Certificate)
		want    any // the id, or the reason
	}{
		"spiffe":                            {spiffe, nil, svid(workload), workload},
		"spiffe, listed":                    {spiffe, []string{"spiffe://cluster.local/other", workload}, svid(workload), workload},
		"spiffe, by a pattern":              {spiffe, []string{"spiffe://cluster.local/ns/*/sa/orders"}, svid(workload), workload},
		"spiffe, by a part of a part":       {spiffe, []string{"spiffe://cluster.local/ns/sh*p/sa/ord*"}, svid(workload), workload},
		"spiffe, not listed":                {spiffe, []string{"spiffe://cluster.local/ns/shop/sa/carts"}, svid(workload), policy.InvalidClaims},
		"spiffe, the beginning is listed":   {spiffe, []string{"spiffe://cluster.local/ns/shop"}, svid(workload), policy.InvalidClaims},
		"spiffe, a star is one part":        {spiffe, []string{"spiffe://cluster.local/*"}, svid(workload), policy.InvalidClaims},
		"spiffe, a star is not nothing":     {spiffe, []string{workload + "*"}, svid(workload), policy.InvalidClaims},
		"spiffe, another trust domain":      {spiffe, nil, svid("spiffe://evil.example/ns/shop/sa/orders"), policy.WrongIssuer},
		"spiffe, a domain that ends so":     {spiffe, nil, svid("spiffe://evil-cluster.local/ns/shop/sa/orders"), policy.WrongIssuer},
		"spiffe, a domain that begins so":   {spiffe, nil, svid("spiffe://cluster.local.evil.example/ns/shop/sa/orders"), policy.WrongIssuer},
		"spiffe, two URIs":                  {spiffe, nil, svid(workload, "https://example.com/"), policy.InvalidClaims},
		"spiffe, two URIs, both SPIFFE":     {spiffe, nil, svid(workload, workload+"2"), policy.InvalidClaims},
		"spiffe, no URI":                    {spiffe, nil, func(*x509.Certificate) {}, policy.InvalidClaims},
		"spiffe, another scheme":            {spiffe, nil, svid("https://cluster.local/ns/shop/sa/orders"), policy.InvalidClaims},
		"spiffe, scheme in upper case":      {spiffe, nil, alternatives(uriTag, "SPIFFE://cluster.local/a"), policy.InvalidClaims},
		"spiffe, domain in upper case":      {spiffe, nil, svid("spiffe://Cluster.local/a"), policy.InvalidClaims},
		"spiffe, path keeps its case":       {spiffe, []string{workload}, svid("spiffe://cluster.local/ns/shop/sa/Orders"), policy.InvalidClaims},
		"spiffe, no path":                   {spiffe, nil, svid("spiffe://cluster.local"), policy.InvalidClaims},
		"spiffe, a slash for a path":        {spiffe, nil, svid("spiffe://cluster.local/"), policy.InvalidClaims},
		"spiffe, a slash at the end":        {spiffe, nil, svid(workload + "/"), policy.InvalidClaims},
		"spiffe, an empty segment":          {spiffe, nil, svid("spiffe://cluster.local/ns//sa"), policy.InvalidClaims},
		"spiffe, dots":                      {spiffe, nil, svid("spiffe://cluster.local/ns/../sa"), policy.InvalidClaims},
		"spiffe, percent-encoded":           {spiffe, nil, svid("spiffe://cluster.local/%6es"), policy.InvalidClaims},
		"spiffe, a port":                    {spiffe, nil, svid("spiffe://cluster.local:443/a"), policy.InvalidClaims},
		"spiffe, a user":                    {spiffe, nil, svid("spiffe://root@cluster.local/a"), policy.InvalidClaims},
		"spiffe, a query":                   {spiffe, nil, svid("spiffe://cluster.local/a?b"), policy.InvalidClaims},
		"spiffe, a fragment":                {spiffe, nil, svid("spiffe://cluster.local/a#b"), policy.InvalidClaims},
		"spiffe, 2048 bytes":                {spiffe, nil, svid("spiffe://cluster.local/" + strings.Repeat("a", 2048-23)), "spiffe://cluster.local/" + strings.Repeat("a", 2048-23)},
		"spiffe, 2049 bytes":                {spiffe, nil, svid("spiffe://cluster.local/" + strings.Repeat("a", 2049-23)), policy.InvalidClaims},
		"spiffe, of an authority":           {spiffe, nil, func(c *x509.Certificate) { svid(workload)(c); c.IsCA = true }, policy.MalformedCredential},
		"spiffe, may sign certificates":     {spiffe, nil, func(c *x509.Certificate) { svid(workload)(c); c.KeyUsage |= x509.KeyUsageCertSign }, policy.MalformedCredential},
		"spiffe, may sign lists":            {spiffe, nil, func(c *x509.Certificate) { svid(workload)(c); c.KeyUsage |= x509.KeyUsageCRLSign }, policy.MalformedCredential},
		"uri":                               {uri, nil, svid("urn:device:17"), "urn:device:17"},
		"uri, as it is written":             {uri, nil, alternatives(uriTag, "URN:Device:%41"), "URN:Device:%41"},
		"uri, the one that is listed":       {uri, []string{"urn:b"}, svid("urn:a", "urn:b"), "urn:b"},
		"uri, two":                          {uri, nil, svid("urn:a", "urn:b"), policy.InvalidClaims},
		"uri, two that fit":                 {uri, []string{"urn:*"}, svid("urn:a", "urn:b"), policy.InvalidClaims},
		"uri, one twice":                    {uri, nil, svid("urn:a", "urn:a"), "urn:a"},
		"dns":                               {dns, nil, alternatives(dnsTag, "Orders.Example.com"), "orders.example.com"},
		"dns, by a pattern":                 {dns, []string{"*.Example.com"}, alternatives(dnsTag, "ORDERS.example.com"), "orders.example.com"},
		"dns, a star is one label":          {dns, []string{"*.example.com"}, alternatives(dnsTag, "a.b.example.com"), policy.InvalidClaims},
		"dns, a dot is a dot":               {dns, []string{"orders.example.com"}, alternatives(dnsTag, "ordersXexample.com"), policy.InvalidClaims},
		"dns, a wildcard is no name":        {dns, nil, alternatives(dnsTag, "*.example.com"), policy.InvalidClaims},
		"dns, a wildcard against a pattern": {dns, []string{"*.example.com"}, alternatives(dnsTag, "*.example.com"), policy.InvalidClaims},
		"dns, two":                          {dns, nil, alternatives(dnsTag, "a.example", "b.example"), policy.InvalidClaims},
		"dns, none, and a common name":      {dns, nil, subject(pkix.Name{CommonName: "a.example"}), policy.InvalidClaims},
		"email":                             {email, []string{"*@acme.example"}, alternatives(emailTag, "ops@acme.example"), "ops@acme.example"},
		"email, two at signs":               {email, []string{"*@acme.example"}, alternatives(emailTag, "ops@evil.example@acme.example"), policy.InvalidClaims},
		"common name":                       {cn, []string{"device-*"}, subject(pkix.Name{CommonName: "device-0017"}), "device-0017"},
		"common name, another":              {cn, []string{"device-*"}, subject(pkix.Name{CommonName: "a-device-0017"}), policy.InvalidClaims},
		"common name, two": {cn, nil, subject(pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "user"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "admin"},
		}}), policy.InvalidClaims},
		"common name, none":            {cn, nil, svid(workload), policy.InvalidClaims},
		"subject":                      {dn, []string{"CN=*,O=Acme"}, subject(pkix.Name{CommonName: "a", Organization: []string{"Acme"}}), "CN=a,O=Acme"},
		"subject, a comma in a value":  {dn, []string{"CN=*,O=Acme"}, subject(pkix.Name{CommonName: "a,O=Acme"}), policy.InvalidClaims},
		"subject, more than one value": {dn, []string{"OU=*"}, subject(pkix.Name{OrganizationalUnit: []string{"a", "b"}}), policy.InvalidClaims},
		"subject, in its own order": {dn, nil, subject(pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "a"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Acme"},
		}}), "O=Acme,CN=a"},
		"subject, empty": {dn, nil, svid(workload), policy.InvalidClaims},
		"not for clients": {spiffe, nil, func(c *x509.Certificate) {
			svid(workload)(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, policy.WrongIssuer},
		"a NUL in a common name":           {cn, nil, subject(pkix.Name{CommonName: "admin\x00.evil"}), policy.MalformedCredential},
		"a NUL in a name that is no id":    {cn, nil, func(c *x509.Certificate) { alternatives(dnsTag, "a\x00b")(c); c.Subject.CommonName = "a" }, policy.MalformedCredential},
		"a line end in a unit":             {cn, nil, subject(pkix.Name{CommonName: "a", OrganizationalUnit: []string{"a\r\nx-admin: 1"}}), policy.MalformedCredential},
		"a control character beyond ASCII": {cn, nil, subject(pkix.Name{CommonName: "a\u0085b"}), policy.MalformedCredential},
	} {
		t.Run(name, func(t *testing.T) {
			changes := []func(*configv1.Provider){named(c.kind, c.allowed...)}
			if c.kind == spiffe {
				changes = []func(*configv1.Provider){certificateOf(func(cfg *configv1.ClientCertificate) { cfg.Names = c.allowed })}
			}
			auth := f.auth(t, changes...)
			outcome, err := evaluate(t, auth, shows(f.authority.Issue(c.made).Encoded()))
			if err != nil {
				t.Fatal(err)
			}
			if id, ok := c.want.(string); ok {
				if outcome.Principal == nil || outcome.Principal.ID != id {
					t.Errorf("%+v, %+v; want %.100s", outcome, outcome.Principal, id)
				}
			} else if outcome.Reason != c.want {
				t.Errorf("%v (%s), want %v", outcome.Reason, outcome.Detail, c.want)
			}
		})
	}
}

// TestCertificateForms: texts that are not one certificate, and times.
func TestCertificateForms(t *testing.T) {
	f := newCertificateFixture(t)
	auth := f.auth(t)
	good := f.authority.Issue(svid(workload))
	text := string(good.PEM())
	der := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good.Raw[:len(good.Raw)-1]})
	for name, c := range map[string]struct {
		text string
		want policy.Reason
	}{
		"good":                     {good.Encoded(), policy.NoReason},
		"not encoded":              {text, policy.NoReason}, // a text without a percent sign stands for itself
		"none":                     {"", policy.MissingCredential},
		"garbage":                  {"garbage", policy.MalformedCredential},
		"a lone percent sign":      {"%", policy.MalformedCredential},
		"two":                      {good.Encoded() + good.Encoded(), policy.MalformedCredential},
		"text before it":           {"a" + good.Encoded(), policy.MalformedCredential},
		"text behind it":           {good.Encoded() + "a", policy.MalformedCredential},
		"a broken one before it":   {"-----BEGIN CERTIFICATE-----\n!\n" + good.Encoded(), policy.MalformedCredential},
		"cut off":                  {good.Encoded()[:len(good.Encoded())/2], policy.MalformedCredential},
		"half the DER":             {keystest.EncodePEM(der), policy.MalformedCredential},
		"a key":                    {keystest.EncodePEM(good.KeyPEM()), policy.MalformedCredential},
		"headers in the PEM":       {strings.Replace(text, "-----\n", "-----\nProc-Type: 4\n\n", 1), policy.MalformedCredential},
		"the key beside it":        {good.Encoded() + keystest.EncodePEM(good.KeyPEM()), policy.MalformedCredential},
		"longer than what is read": {good.Encoded() + strings.Repeat("%0A", 64<<10/3), policy.MalformedCredential},
		"the authority's own":      {keystest.EncodePEM(f.authority.PEM()), policy.MalformedCredential},
		"of another authority":     {keystest.NewAuthority("root", instant).Issue(svid(workload)).Encoded(), policy.WrongIssuer},
		"begins now":               {f.authority.Issue(func(c *x509.Certificate) { svid(workload)(c); c.NotBefore = instant }).Encoded(), policy.NoReason},
		"begins later":             {f.authority.Issue(func(c *x509.Certificate) { svid(workload)(c); c.NotBefore = instant.Add(time.Second) }).Encoded(), policy.NotYetValid},
		"ends now":                 {f.authority.Issue(func(c *x509.Certificate) { svid(workload)(c); c.NotAfter = instant }).Encoded(), policy.NoReason},
		"has ended":                {f.authority.Issue(func(c *x509.Certificate) { svid(workload)(c); c.NotAfter = instant.Add(-time.Second) }).Encoded(), policy.Expired},
	} {
		t.Run(name, func(t *testing.T) {
			got, detail := why(t, auth, shows(c.text))
			if got != c.want || strings.Contains(detail, "cluster.local") {
				t.Errorf("%v (%s), want %v", got, detail, c.want)
			}
		})
	}
	// What Envoy has read out of the certificate is what we read.
	req := shows(good.Encoded())
	req.Source.Principal = "spiffe://cluster.local/ns/shop/sa/order"
	if got, detail := why(t, auth, req); got != policy.MalformedCredential {
		t.Errorf("Envoy's principal is another: %v (%s)", got, detail)
	}
	// Envoy sends the name and no certificate.
	req = &policy.Request{Source: policy.Peer{Principal: workload}}
	if got, detail := why(t, auth, req); got != policy.MalformedCredential || !strings.Contains(detail, "include_peer_certificate") {
		t.Errorf("Envoy sends no certificate: %v (%s)", got, detail)
	}
	// Which is a credential all the same: who has it is not nobody.
	provider, err := f.provider()
	if err != nil {
		t.Fatal(err)
	}
	guests := keys.NewAuthenticator([]*keys.Provider{provider}, keys.Demand{Anonymous: "guest"})
	if outcome, err := evaluate(t, guests, req); err != nil || outcome.Verdict != policy.Denied {
		t.Errorf("Envoy sends no certificate, where anonymous callers may come: %+v, %v", outcome, err)
	}
}

// TestCertificateTimesOnEveryHit: a remembered certificate ends with its second.
func TestCertificateTimesOnEveryHit(t *testing.T) {
	f := newCertificateFixture(t)
	auth := f.auth(t)
	req := shows(f.authority.Issue(func(c *x509.Certificate) { svid(workload)(c); c.NotAfter = instant.Add(time.Minute) }).Encoded())
	for _, c := range []struct {
		after time.Duration
		want  policy.Reason
	}{{0, policy.NoReason}, {time.Minute, policy.NoReason}, {time.Minute + time.Second, policy.Expired}} {
		f.now = instant.Add(c.after)
		if got, detail := why(t, auth, req); got != c.want {
			t.Errorf("after %v: %v (%s), want %v", c.after, got, detail, c.want)
		}
	}
}

func TestVerifiedByEnvoy(t *testing.T) {
	f := newCertificateFixture(t)
	auth := f.auth(t, certificateOf(func(c *configv1.ClientCertificate) { c.CaFile, c.VerifiedByEnvoy = "", true }))
	other := keystest.NewAuthority("other", instant)
	if got, detail := why(t, auth, shows(other.Issue(svid(workload)).Encoded())); got != policy.NoReason {
		t.Errorf("%v (%s)", got, detail)
	}
	expired := other.Issue(func(c *x509.Certificate) { svid(workload)(c); c.NotAfter = instant.Add(-time.Minute) })
	if got, _ := why(t, auth, shows(expired.Encoded())); got != policy.Expired {
		t.Errorf("an expired one: %v", got)
	}
}

// TestNameSuffices: Envoy's name of a caller, where it is believed, and where it hands on a certificate after all.
func TestNameSuffices(t *testing.T) {
	f := newCertificateFixture(t)
	auth := f.auth(t, certificateOf(func(c *configv1.ClientCertificate) {
		c.CaFile, c.VerifiedByEnvoy, c.NameSuffices = "", true, true
		c.Names = []string{"spiffe://cluster.local/ns/shop/sa/*"}
	}))
	for name, want := range map[string]policy.Reason{
		workload: policy.NoReason, "": policy.MissingCredential, "spiffe://cluster.local/ns/edge/sa/gateway": policy.InvalidClaims,
		"spiffe://evil.example/ns/shop/sa/orders": policy.WrongIssuer, "orders.example.com": policy.InvalidClaims, "CN=orders": policy.InvalidClaims,
		workload + "\x00": policy.InvalidClaims, workload + strings.Repeat("a", 2048): policy.InvalidClaims,
	} {
		req := &policy.Request{Source: policy.Peer{Principal: name}}
		if got, detail := why(t, auth, req); got != want {
			t.Errorf("%.60q: %v (%s), want %v", name, got, detail, want)
		}
	}
	req := shows(f.authority.Issue(svid(workload, workload+"2")).Encoded())
	req.Source.Principal = workload
	if got, _ := why(t, auth, req); got != policy.InvalidClaims {
		t.Errorf("a certificate with two URIs: %v", got)
	}
	outcome, err := evaluate(t, auth, &policy.Request{Source: policy.Peer{Principal: workload}})
	want := &policy.Principal{ID: workload, Provider: "mesh", Subject: workload, Issuer: "spiffe://cluster.local", Claims: map[string]any{"uris": []any{workload}, "dns": []any{}}}
	if diff := cmp.Diff(want, outcome.Principal); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// certificateThreats are the rows of the table of mTLS and principals.
var certificateThreats = map[string]func(t *testing.T){
	"Caddy CVE-2026-27586": func(t *testing.T) { // a file of authorities that is missing, empty or garbage
		f := newCertificateFixture(t)
		leaf := f.authority.Issue(svid(workload))
		for name, data := range map[string][]byte{
			"missing": nil, "empty": {}, "garbage": []byte("garbage"), "spaces": []byte("\n \n"), "cut": f.authority.PEM()[:100],
			"one and a half": append(f.authority.PEM(), f.authority.PEM()[:100]...), "a key": leaf.KeyPEM(), "no authority": leaf.PEM(),
			"no certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("garbage")}),
		} {
			f.files["ca.pem"] = data
			if data == nil {
				delete(f.files, "ca.pem")
			}
			var field *policy.FieldError
			if provider, err := f.provider(); provider != nil || !errors.As(err, &field) || field.Field != "client_certificate.ca_file" {
				t.Errorf("%s: %v, %v", name, provider, err)
			}
		}
	},
	"Envoy CVE-2022-21654, Go CVE-2025-68121": func(t *testing.T) { // an authority that is taken out is trusted no longer
		f := newCertificateFixture(t)
		req := shows(f.authority.Issue(svid(workload)).Encoded())
		if got, detail := why(t, f.auth(t), req); got != policy.NoReason {
			t.Fatalf("%v (%s)", got, detail)
		}
		f.files["ca.pem"] = keystest.NewAuthority("root", instant).PEM()
		if got, _ := why(t, f.auth(t), req); got != policy.WrongIssuer {
			t.Errorf("after its authority was taken out: %v", got)
		}
	},
	"Envoy CVE-2025-66220, CVE-2026-47778": func(t *testing.T) { // NUL in a subject alternative name
		f := newCertificateFixture(t)
		for tag, kind := range map[int]configv1.CertificateName{
			1: configv1.CertificateName_CERTIFICATE_NAME_EMAIL, 2: configv1.CertificateName_CERTIFICATE_NAME_DNS, 6: configv1.CertificateName_CERTIFICATE_NAME_URI,
		} {
			for _, name := range []string{"admin\x00.evil.example", "admin\n", "admin\x7f", "\x00"} {
				leaf := f.authority.IssueRaw(alternatives(tag, name))
				req := shows(keystest.EncodePEM(leaf))
				req.Source.Principal = strings.TrimRight(name[:min(len(name), 5)], "\x00")
				for _, auth := range []*keys.Authenticator{f.auth(t, named(kind)), f.auth(t, named(kind, "admin")), f.auth(t, named(kind, "admin*"))} {
					if got, detail := why(t, auth, req); got != policy.MalformedCredential {
						t.Errorf("tag %d, %q: %v (%s)", tag, name, got, detail)
					}
				}
			}
		}
	},
	"Istio CVE-2026-39350": func(t *testing.T) { // a dot is no wildcard
		f := newCertificateFixture(t)
		dns := configv1.CertificateName_CERTIFICATE_NAME_COMMON_NAME
		for name, want := range map[string]policy.Reason{"cert-manager.io": policy.NoReason, "cert-managerXio": policy.InvalidClaims, "cert-manager-io": policy.InvalidClaims} {
			if got, _ := why(t, f.auth(t, named(dns, "cert-manager.io")), shows(f.authority.Issue(subject(pkix.Name{CommonName: name})).Encoded())); got != want {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
		account := "spiffe://cluster.local/ns/cert-manager/sa/cert-manager.io"
		auth := f.auth(t, certificateOf(func(c *configv1.ClientCertificate) { c.Names = []string{account} }))
		for id, want := range map[string]policy.Reason{account: policy.NoReason, strings.Replace(account, "r.io", "rXio", 1): policy.InvalidClaims} {
			if got, _ := why(t, auth, shows(f.authority.Issue(svid(id)).Encoded())); got != want {
				t.Errorf("%s: %v, want %v", id, got, want)
			}
		}
		for _, pattern := range []string{".*", "^.*$", "cert.manager.io", "cert-manager[.]io"} {
			if got, _ := why(t, f.auth(t, named(dns, pattern)), shows(f.authority.Issue(subject(pkix.Name{CommonName: "cert-manager.io"})).Encoded())); got != policy.InvalidClaims {
				t.Errorf("%s is read as a regular expression: %v", pattern, got)
			}
		}
	},
	"XFCC from the client": func(t *testing.T) { // the header counts for nothing unless it is configured
		f := newCertificateFixture(t)
		leaf := f.authority.Issue(svid(workload))
		req := &policy.Request{Source: policy.Peer{Address: "10.0.0.1"}, Headers: policy.Headers{{Name: "x-forwarded-client-cert", Value: element(leaf)}}}
		if got, _ := why(t, f.auth(t), req); got != policy.MissingCredential {
			t.Errorf("%v", got)
		}
	},
	"x509 CVE-2025-58187, -58188, -61727, CVE-2026-27145, -33818": func(t *testing.T) { // 1,000 altered certificates, no panic
		f := newCertificateFixture(t)
		auth := f.auth(t)
		leaf := f.authority.Issue(svid(workload)).Raw
		random := rand.New(rand.NewPCG(1, 2))
		for range 1000 {
			altered := bytes.Clone(leaf)
			for range 1 + random.IntN(4) {
				altered[random.IntN(len(altered))] = byte(random.Uint32())
			}
			if bytes.Equal(altered, leaf) {
				continue
			}
			text := keystest.EncodePEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: altered}))
			if got, _ := why(t, auth, shows(text)); got == policy.NoReason {
				t.Fatalf("an altered certificate is accepted: %x", altered)
			}
		}
	},
	"several SANs": func(t *testing.T) { // Envoy's principal is the first URI alone
		f := newCertificateFixture(t)
		req := shows(f.authority.Issue(svid(workload, "spiffe://cluster.local/ns/admin/sa/root")).Encoded())
		req.Source.Principal = workload
		if got, _ := why(t, f.auth(t), req); got != policy.InvalidClaims {
			t.Errorf("%v", got)
		}
	},
}

func TestCertificateThreats(t *testing.T) {
	if len(certificateThreats) != 7 {
		t.Fatalf("%d rows; those of THREATS a.7 that are not about our own listener are 7", len(certificateThreats))
	}
	for row, try := range certificateThreats {
		t.Run(row, try)
	}
}

// FuzzCertificate: whatever stands for the certificate, only the one that was issued is accepted.
func FuzzCertificate(f *testing.F) {
	fixture := newCertificateFixture(f)
	auth := fixture.auth(f, certificateOf(func(c *configv1.ClientCertificate) { c.CaFile, c.VerifiedByEnvoy = "", true }))
	issued := fixture.authority.Issue(svid(workload))
	trusting := fixture.auth(f)
	f.Add(issued.Raw, "")
	f.Add(fixture.authority.Certificate.Raw, "%0A")
	f.Add([]byte{0x30, 0x80}, "-----BEGIN%20CERTIFICATE-----")
	f.Fuzz(func(t *testing.T, der []byte, behind string) {
		req := shows(keystest.EncodePEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + behind)
		if got, _ := why(t, trusting, req); got == policy.NoReason && !bytes.Equal(der, issued.Raw) {
			t.Errorf("another certificate than the issued one is accepted: %x", der)
		}
		outcome, err := evaluate(t, auth, req)
		if err != nil {
			t.Fatal(err)
		}
		if p := outcome.Principal; p != nil && (!strings.HasPrefix(p.ID, "spiffe://cluster.local/") || strings.ContainsFunc(p.ID, func(r rune) bool { return r <= ' ' || r > '~' })) {
			t.Errorf("the id is %q", p.ID)
		}
	})
}
