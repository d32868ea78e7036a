package server_test

import (
	"crypto/tls"
	"io"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/kasbah-authz/kasbah/server/servertest"
)

// tlsFiles are the files of a server with TLS; more settings of it follow a comma.
func tlsFiles(t *testing.T, authority *servertest.Authority, more string) map[string]string {
	t.Helper()
	files := servertest.Orders(testIssuer(t))
	files[servertest.ConfigFile] = replaceOnce(t, files[servertest.ConfigFile], "server:\n", "server:\n  tls: {cert_file: tls.crt, key_file: tls.key"+more+"}\n")
	files["tls.crt"], files["tls.key"] = authority.Issue("kasbah")
	files["ca.crt"] = authority.PEM()
	return files
}

const mutual = ", client_ca_file: ca.crt"

// connect makes a connection of its own and checks over it.
func connect(t *testing.T, s *servertest.Server, config *tls.Config) error {
	t.Helper()
	conn := s.Dial(config)
	defer conn.Close()
	_, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), servertest.NewCheck("GET", "/healthz"))
	return err
}

// wantConnection fails the test unless connecting does what is wanted.
func wantConnection(t *testing.T, s *servertest.Server, what string, config *tls.Config, want bool) {
	t.Helper()
	err := connect(t, s, config)
	if want && err != nil || !want && grpcstatus.Code(err) != codes.Unavailable {
		t.Errorf("%s: %v; want a connection: %t", what, err, want)
	}
}

func TestTLS(t *testing.T) {
	ours, theirs := servertest.NewAuthority(t), servertest.NewAuthority(t)
	s := servertest.Start(t, servertest.Options{Files: tlsFiles(t, ours, ""), TLS: ours.Client(nil)})
	wantConnection(t, s, "our authority", ours.Client(nil), true)
	wantConnection(t, s, "plain text", nil, false)
	wantConnection(t, s, "a client that trusts another authority", theirs.Client(nil), false)
	old := ours.Client(nil)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	wantConnection(t, s, "TLS 1.1", old, false)
	if got := s.Status(servertest.NewCheck("GET", "/healthz")); got != 200 {
		t.Errorf("afterwards: %d", got)
	}
}

// TestMutualTLS: an authority's own clients only, and of them only those named, their names compared whole.
func TestMutualTLS(t *testing.T) {
	ours, theirs := servertest.NewAuthority(t), servertest.NewAuthority(t)
	s := servertest.Start(t, servertest.Options{Files: tlsFiles(t, ours, mutual), TLS: ours.Client(ours, "envoy")})
	wantConnection(t, s, "our certificate", ours.Client(ours, "anybody"), true)
	wantConnection(t, s, "no certificate", ours.Client(nil), false)
	wantConnection(t, s, "another authority's certificate", ours.Client(theirs, "anybody"), false)
	wantConnection(t, s, "plain text", nil, false)

	named := servertest.Start(t, servertest.Options{
		Files: tlsFiles(t, ours, mutual+", client_names: [cert-manager.io, 'spiffe://mesh/ns/gateway/sa/envoy']"),
		TLS:   ours.Client(ours, "cert-manager.io"),
	})
	for name, want := range map[string]bool{
		"cert-manager.io": true, "spiffe://mesh/ns/gateway/sa/envoy": true,
		"cert-managerXio": false, "cert-manager.io.example": false, "x.cert-manager.io": false, "manager.io": false, "*.io": false,
		"spiffe://mesh/ns/gateway/sa/envoy2": false, "spiffe://mesh/ns/gateway/sa": false, "spiffe://other/ns/gateway/sa/envoy": false,
	} {
		wantConnection(t, named, name, ours.Client(ours, name), want)
		wantConnection(t, named, name+" of another authority", ours.Client(theirs, name), false)
	}
	wantConnection(t, named, "two names", ours.Client(ours, "other", "cert-manager.io"), true)
	wantConnection(t, named, "no name", ours.Client(ours), false)
}

// TestCertificateReload: the next connection sees a new certificate, and none that does not load.
func TestCertificateReload(t *testing.T) {
	ours := servertest.NewAuthority(t)
	files := tlsFiles(t, ours, "")
	serial := ""
	client := ours.Client(nil)
	client.VerifyConnection = func(state tls.ConnectionState) error {
		serial = state.PeerCertificates[0].SerialNumber.String()
		return nil
	}
	s := servertest.Start(t, servertest.Options{Files: files, TLS: ours.Client(nil)})
	wantConnection(t, s, "the first", client, true)
	first := serial
	certificate, key := ours.Issue("kasbah")
	servertest.Replace(t, filepath.Join(s.Folder, "tls.crt"), certificate)
	s.AwaitRefused(1) // the key is not the new certificate's
	wantConnection(t, s, "half a change", client, true)
	if serial != first {
		t.Errorf("certificate %s after half a change, want %s", serial, first)
	}
	servertest.Replace(t, filepath.Join(s.Folder, "tls.key"), key)
	noticed(t, "a certificate", s.AwaitGeneration(2))
	wantConnection(t, s, "the second", client, true)
	if serial == first {
		t.Errorf("certificate %s after the change", serial)
	}
	for name, broken := range map[string]string{"empty": "", "garbage": "garbage", "cut": certificate[:len(certificate)/2], "a key": key} {
		refused := s.Refused()
		servertest.Replace(t, filepath.Join(s.Folder, "tls.crt"), broken)
		s.AwaitRefused(refused + 1)
		wantConnection(t, s, name, client, true)
	}
	plain := servertest.Orders(testIssuer(t))[servertest.ConfigFile]
	servertest.Replace(t, filepath.Join(s.Folder, servertest.ConfigFile), plain)
	s.AwaitGeneration(3)
	wantConnection(t, s, "TLS, without a certificate in the configuration", client, false)
	wantConnection(t, s, "plain text, on a port that began with TLS", nil, false)
}

// TestAuthorityReload: an authority that is removed vouches for nobody any more, not even by a session that it once
// allowed; and no file that does not load opens the door.
func TestAuthorityReload(t *testing.T) {
	ours, theirs := servertest.NewAuthority(t), servertest.NewAuthority(t)
	s := servertest.Start(t, servertest.Options{Files: tlsFiles(t, ours, mutual), TLS: ours.Client(ours)})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, other := ours.Client(ours, "envoy"), ours.Client(theirs, "envoy")
		client.ClientSessionCache, client.MaxVersion = tls.NewLRUClientSessionCache(8), version
		path := filepath.Join(s.Folder, "ca.crt")
		for name, broken := range map[string]string{
			"empty": "", "garbage": "garbage", "a cut certificate": ours.PEM()[:200], "a key": pemKey(ours),
			"one good and one cut": ours.PEM() + theirs.PEM()[:200], "one good and one bad": ours.PEM() + replaceOnce(t, theirs.PEM(), "MII", "AAA"),
		} {
			refused := s.Refused()
			servertest.Replace(t, path, broken)
			servertest.Await(t, "the refusal of "+name, func() bool { return s.Refused() > refused || s.Generation() > 50 })
			wantConnection(t, s, name+", ours", client, true)
			wantConnection(t, s, name+", another", other, false)
			wantConnection(t, s, name+", none", ours.Client(nil), false)
		}
		generation := s.Generation()
		servertest.Replace(t, path, "# The authorities of the mesh\n"+theirs.PEM())
		s.AwaitGeneration(generation + 1)
		wantConnection(t, s, "ours, removed", client, false)
		wantConnection(t, s, "another, added", other, true)
		servertest.Replace(t, path, ours.PEM())
		s.AwaitGeneration(generation + 2)
		wantConnection(t, s, "ours, again", client, true)
	}
}

func pemKey(authority *servertest.Authority) string {
	_, key := authority.Issue("kasbah")
	return key
}

// TestTLSThatDoesNotLoad: New refuses what a reload refuses, and says where it is.
func TestTLSThatDoesNotLoad(t *testing.T) {
	ours := servertest.NewAuthority(t)
	good := tlsFiles(t, ours, mutual)
	for file, field := range map[string]string{"tls.crt": "cert_file", "tls.key": "key_file", "ca.crt": "client_ca_file"} {
		for _, text := range []string{"", "garbage", "missing"} {
			files := maps.Clone(good)
			files[file] = text
			if text == "missing" {
				delete(files, file)
			}
			s, err := servertest.New(t, servertest.Options{Files: files})
			if err == nil || !strings.Contains(err.Error(), servertest.ConfigFile+":2:") {
				t.Errorf("%s is %q: New: server %t, %v; want a finding at line 2, where %s is", file, text, s != nil, err, field)
			}
		}
	}
}

// fragments cuts the first record that is written, the ClientHello, into records of a few bytes.
type fragments struct {
	net.Conn
	done bool
}

func (f *fragments) Write(data []byte) (int, error) {
	if f.done || len(data) < 5 {
		return f.Conn.Write(data)
	}
	f.done = true
	var cut []byte
	for rest := data[5:]; len(rest) > 0; {
		size := min(len(rest), 7)
		cut = append(append(cut, data[0], data[1], data[2], 0, byte(size)), rest[:size]...)
		rest = rest[size:]
	}
	if _, err := f.Conn.Write(cut); err != nil {
		return 0, err
	}
	return len(data), nil
}

// TestNoNameOpensTheDoor: whatever name a client asks for, or none, and in however many pieces it says so, it must show a certificate
// (THREATS a.7, Traefik CVE-2026-32305, -53622, CVE-2022-23632).
func TestNoNameOpensTheDoor(t *testing.T) {
	ours := servertest.NewAuthority(t)
	s := servertest.Start(t, servertest.Options{Files: tlsFiles(t, ours, mutual), TLS: ours.Client(ours, "envoy")})
	settings := func(config *tls.Config, name string, version uint16) *tls.Config {
		config.ServerName, config.MaxVersion, config.NextProtos = name, version, []string{"h2"}
		config.InsecureSkipVerify = true // it is the server who is tested
		return config
	}
	greeted := func(config *tls.Config, cut bool) bool {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client := tls.Client(&fragments{Conn: conn, done: !cut}, config)
		if _, err := client.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
			return false
		}
		frame := make([]byte, 9) // the server's settings
		_, err = io.ReadFull(client, frame)
		return err == nil
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, name := range []string{"", "kasbah", "KASBAH.", "other.example", "127.0.0.1", "xn--a", strings.Repeat("a.", 100) + "example"} {
			for _, cut := range []bool{false, true} {
				if !greeted(settings(ours.Client(ours, "envoy"), name, version), cut) {
					t.Errorf("%q, cut %t, TLS %x: our certificate is refused", name, cut, version)
				}
				if greeted(settings(ours.Client(nil), name, version), cut) {
					t.Errorf("%q, cut %t, TLS %x: let in without a certificate", name, cut, version)
				}
			}
		}
	}
}
