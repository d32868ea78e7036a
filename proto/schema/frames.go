package schema

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/kasbah-authz/kasbah/policy"
)

const (
	// maxRatio is how many times its own length a message may inflate to, once it is longer than leastInflated.
	maxRatio      = 20
	leastInflated = 64 << 10
	frameHead     = 5 // a flag, and the length in four bytes
)

// messages returns the messages in the frames of a gRPC body (each behind a flag and its length), inflated to maxBytes together at
// most. Nothing is allocated by what a length says.
func (c *contract) messages(req *policy.Request, body []byte, maxBytes int) ([][]byte, *finding) {
	encoding, lines := req.Headers.Get("grpc-encoding")
	if lines > 1 || lines == 1 && encoding != "identity" && encoding != "gzip" {
		return nil, invalid("grpc.encoding", "grpc-encoding must be gzip or identity")
	}
	var found [][]byte
	for room := maxBytes; len(body) > 0; {
		if len(found) == c.maxValues {
			return nil, invalid("protobuf.max_values", fmt.Sprintf("there are more than %d messages", c.maxValues))
		}
		if len(body) < frameHead {
			return nil, invalid("grpc.frame", "the body ends within the head of a message, or something stands behind its last one")
		}
		compressed, length := body[0], binary.BigEndian.Uint32(body[1:])
		body = body[frameHead:]
		if uint64(length) > uint64(len(body)) {
			return nil, invalid("grpc.length", "a message is said to be longer than the rest of the body")
		}
		message := body[:length:length]
		body = body[length:]
		switch {
		case compressed == 0:
		case compressed == 1 && encoding == "gzip":
			inflated, found := c.inflaters.inflate(message, room)
			if found != nil {
				return nil, found
			}
			message = inflated
		default:
			return nil, invalid("grpc.flag", "a message is said to be compressed and grpc-encoding does not say how, or its flag is neither 0 nor 1")
		}
		if room -= len(message); room < 0 {
			return nil, tooLong(fmt.Sprintf("the messages are longer than %d bytes", maxBytes))
		}
		found = append(found, message)
	}
	return found, nil
}

// webText decodes the body of gRPC-Web's text form.
func webText(body []byte) ([]byte, *finding) {
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	if bytes.ContainsAny(body, "\r\n") { // which Go would skip
		return nil, invalid("grpc.base64", "the body is not base64")
	}
	n, err := base64.StdEncoding.Strict().Decode(decoded, body)
	if err != nil {
		return nil, invalid("grpc.base64", "the body is not base64")
	}
	return decoded[:n], nil
}

// inflaters are readers of gzip that wait for their next use.
type inflaters struct{ pool sync.Pool }

// inflate returns what a message of gzip stands for, of limit bytes at most. It must be one member, and nothing behind it.
func (i *inflaters) inflate(message []byte, limit int) ([]byte, *finding) {
	limit = min(limit, max(maxRatio*len(message), leastInflated))
	broken := invalid("grpc.gzip", "a message is not gzip, or not one member of it, whole")
	source := bytes.NewReader(message)
	reader, ok := i.pool.Get().(*gzip.Reader)
	var err error
	if ok {
		err = reader.Reset(source)
	} else {
		reader, err = gzip.NewReader(source)
	}
	if err != nil {
		return nil, broken // and the reader is left to the garbage collector
	}
	defer i.pool.Put(reader)
	reader.Multistream(false)
	var inflated bytes.Buffer
	inflated.Grow(min(limit, 4*len(message)) + bytes.MinRead)
	_, err = inflated.ReadFrom(io.LimitReader(reader, int64(limit)+1))
	switch {
	case inflated.Len() > limit:
		return nil, tooLong(fmt.Sprintf("a message inflates to more than %d bytes, or more than %d times its length", limit, maxRatio))
	case err != nil || source.Len() > 0:
		return nil, broken
	}
	// The checksum stands behind the last byte: it was read only if the end was.
	if _, err := reader.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return nil, broken
	}
	return inflated.Bytes(), nil
}
