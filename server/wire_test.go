package server_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/server"
	"github.com/kasbah-authz/kasbah/server/servertest"
)

const checkMethod = "/envoy.service.auth.v3.Authorization/Check"

// wire is a client that keeps no rule of HTTP/2 but those that it wants to.
type wire struct {
	net.Conn
	*http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer
	next    uint32 // id of the next stream
}

func dialWire(addr net.Addr) (*wire, error) {
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn, Framer: http2.NewFramer(conn, conn), next: 1}
	w.encoder = hpack.NewEncoder(&w.block)
	w.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	w.AllowIllegalWrites = true
	// No write and no read of an abuse may hold up the test for longer.
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return w, w.WriteSettings()
}

// headers returns the header block of a gRPC call.
func (w *wire) headers(path string, more ...hpack.HeaderField) []byte {
	w.block.Reset()
	fields := append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: path},
		{Name: ":authority", Value: "kasbah"},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "te", Value: "trailers"},
	}, more...)
	for _, field := range fields {
		_ = w.encoder.WriteField(field) // into memory
	}
	return w.block.Bytes()
}

// open begins a stream, and returns its id.
func (w *wire) open(path string, end bool, more ...hpack.HeaderField) (uint32, error) {
	id := w.next
	w.next += 2
	return id, w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.headers(path, more...), EndHeaders: true, EndStream: end})
}

// call makes a call and returns its grpc-status, or "reset" or "closed".
func (w *wire) call(path string, message []byte, more ...hpack.HeaderField) (string, []byte) {
	id, err := w.open(path, false, more...)
	if err != nil {
		return "closed", nil
	}
	if err := w.WriteData(id, true, message); err != nil {
		return "closed", nil
	}
	var answer []byte
	for {
		frame, err := w.ReadFrame()
		if err != nil {
			return "closed", nil
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = w.WriteSettingsAck() // a fault shows at the next read
			}
		case *http2.DataFrame:
			if frame.StreamID == id {
				answer = append(answer, frame.Data()...)
			}
		case *http2.RSTStreamFrame:
			if frame.StreamID == id {
				return "reset", nil
			}
		case *http2.MetaHeadersFrame:
			for _, field := range frame.RegularFields() {
				if frame.StreamID == id && field.Name == "grpc-status" {
					return field.Value, answer
				}
			}
		}
	}
}

// grpcMessage is a message with the prefix that gRPC gives it.
func grpcMessage(tb testing.TB, message proto.Message) []byte {
	tb.Helper()
	body, err := proto.Marshal(message)
	if err != nil {
		tb.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

// TestPathsOnTheWire: a call is for the Authorization service by its whole name, or for nobody (grpc-go CVE-2026-33186).
func TestPathsOnTheWire(t *testing.T) {
	s := startOrders(t, nil)
	message := grpcMessage(t, servertest.NewCheck("GET", "/healthz"))
	for path, want := range map[string]string{
		checkMethod: "0", checkMethod[1:]: "12", "envoy.service.auth.v3.Authorization": "12", "*": "12", "/": "12", "//": "12",
		"/" + checkMethod: "12", checkMethod + "/": "12", checkMethod + "?x=1": "12", "/envoy.service.auth.v3.Authorization/check": "12",
		"/x/../" + checkMethod[1:]: "12", "/envoy.service.auth.v2.Authorization/Check": "12", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": "12",
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "12", "/grpc.channelz.v1.Channelz/GetServers": "12",
	} {
		w, err := dialWire(s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		got, answer := w.call(path, message)
		if got != want {
			t.Errorf(":path %q: grpc-status %s, want %s", path, got, want)
		}
		if want != "0" && len(answer) > 0 {
			t.Errorf(":path %q: an answer of %d bytes", path, len(answer))
		}
		_ = w.Close() // nothing is left to lose
	}
}

// TestMessagesThatCannotBeRead are denied by an answer: an error would be for failure_mode_allow to decide (Envoy
// CVE-2023-27488, where bytes that are not UTF-8 made the check unreadable).
func TestMessagesThatCannotBeRead(t *testing.T) {
	s := startOrders(t, nil)
	notText := servertest.NewCheck("GET", "/healthz")
	notText.Attributes.Source = &authv3.AttributeContext_Peer{Principal: "CN=QQQQ"}
	good := grpcMessage(t, notText)
	for name, message := range map[string][]byte{
		"a principal that is not UTF-8": bytes.ReplaceAll(good, []byte("QQQQ"), []byte("\xff\xfe\xfd\xfc")),
		"cut in the middle":             append(binary.BigEndian.AppendUint32([]byte{0}, 7), good[5:12]...),
		"not protobuf":                  append(binary.BigEndian.AppendUint32([]byte{0}, 4), 0xff, 0xff, 0xff, 0xff),
		"empty":                         {0, 0, 0, 0, 0},
	} {
		w, err := dialWire(s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		status, answer := w.call(checkMethod, message)
		_ = w.Close() // nothing is left to lose
		if status != "0" || len(answer) < 5 {
			t.Errorf("%s: grpc-status %s and %d bytes, want an answer", name, status, len(answer))
			continue
		}
		var response authv3.CheckResponse
		if err := proto.Unmarshal(answer[5:], &response); err != nil || servertest.Status(&response) != 400 {
			t.Errorf("%s: %v, %v, want 400", name, &response, err)
		}
	}
}

// TestAnswerToAnExactTimeout sends Envoy's own header and reads whenever the answer comes: it is an answer, not the
// end of the time. The machine may stall for longer than the margin, so that one of a few tries has to show it; that
// it is always so is shown in virtual time, by the tests of deadlines.
func TestAnswerToAnExactTimeout(t *testing.T) {
	s := startOrders(t, nil)
	if err := serverInjectSlow(s); err != nil {
		t.Fatal(err)
	}
	message := grpcMessage(t, servertest.NewCheck("GET", "/a"))
	for _, milliseconds := range []int{10, 50, 200} {
		answered := false
		for try := 0; try < 50 && !answered; try++ {
			w, err := dialWire(s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			got, answer := w.call(checkMethod, message, hpack.HeaderField{Name: "grpc-timeout", Value: fmt.Sprintf("%dm", milliseconds)})
			_ = w.Close() // nothing is left to lose
			if got != "0" || len(answer) < 5 {
				continue
			}
			var response authv3.CheckResponse
			if err := proto.Unmarshal(answer[5:], &response); err != nil || servertest.Status(&response) != 503 {
				t.Fatalf("within %d ms: %v, %v", milliseconds, &response, err)
			}
			answered = true
		}
		if !answered {
			t.Errorf("within %d ms: 50 times the end of the time, and no answer", milliseconds)
		}
	}
}

// TestAllowThatCannotBeWritten: no message may hold what this one would inject. It becomes a denial, for the caller, the log
// and the metrics alike.
func TestAllowThatCannotBeWritten(t *testing.T) {
	log := &servertest.Log{}
	for name, change := range map[string]func(*policy.Route){
		"a header":          func(r *policy.Route) { r.Headers = []policy.Injection{{Name: "x-\xff", Value: fixed}} },
		"a response header": func(r *policy.Route) { r.Response = []policy.Injection{{Name: "x-\xff", Value: fixed}} },
		"the route's name":  func(r *policy.Route) { r.Name = "\xff" },
	} {
		routes := everything(permits("one"))
		change(&routes[0])
		checker, err := server.NewChecker(server.CheckerConfig{Routes: routes, Timeout: time.Second, Now: time.Now, Log: slog.NewJSONHandler(log, nil)})
		if err != nil {
			t.Fatal(err)
		}
		response, err := checker.Check(t.Context(), servertest.NewCheck("GET", "/a"))
		if err != nil || servertest.Status(response) != 500 || response.GetDynamicMetadata().GetFields()["effect"].GetStringValue() != "deny" {
			t.Errorf("%s: %v, %v; want 500", name, response, err)
		}
		id := response.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
		if lines := log.Lines(id, `"level":"ERROR"`, `"effect":"deny"`, `"reason":"internal"`); len(lines) != 1 {
			t.Errorf("%s: %d lines of the log about %s", name, len(lines), id)
		}
	}
}

func fixed(*policy.Request, *policy.Principal) (string, bool, error) { return "v", true, nil }
