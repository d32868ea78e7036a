package suite

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kasbah-authz/kasbah/policy"
)

// request reads what is asked: the name of a shared request, "METHOD [host]/path?query", or a mapping. It is nil after
// a finding.
func (r *reader) request(node *yaml.Node) *policy.Request {
	var req *policy.Request
	switch {
	case node.Kind != yaml.ScalarNode:
		req = r.readRequest(node)
	case strings.Contains(node.Value, " "):
		req = r.requestLine(node)
	default:
		req = r.sharedRequest(node, r.name(node))
	}
	if req == nil {
		return nil
	}
	return r.finishRequest(node, *req)
}

func (r *reader) sharedRequest(node *yaml.Node, name string) *policy.Request {
	req := r.requests[name]
	if req == nil && name != "" && !r.full() {
		r.errorf(node, `no request is named %s%s; or write a request as "GET /path"`, quote(name), among(slices.Collect(maps.Keys(r.requests))))
	}
	return req
}

// requestLine reads "METHOD [host]/path?query".
func (r *reader) requestLine(node *yaml.Node) *policy.Request {
	req := r.defaultRequest
	method, target, _ := strings.Cut(r.text(node), " ")
	slash := strings.IndexByte(target, '/')
	if slash < 0 {
		r.errorf(node, `%s is no request; write "GET /path" or "GET host/path"`, quote(node.Value))
		return nil
	}
	if slash > 0 {
		req.Host = target[:slash]
	}
	req.Method = method
	req.Path, req.Query, _ = strings.Cut(target[slash:], "?")
	return &req
}

// readRequest reads the mapping, over the request that it is like.
func (r *reader) readRequest(node *yaml.Node) *policy.Request {
	f := r.fields(node, "a request", "like", "id", "time", "method", "scheme", "host", "path", "query", "protocol", "size",
		"headers", "params", "attributes", "metadata", "source", "destination", "body")
	if f == nil {
		return nil
	}
	req := r.defaultRequest
	if like := f["like"]; like != nil {
		shared := r.sharedRequest(like, r.name(like))
		if shared == nil {
			return nil
		}
		req = *shared
	}
	for name, field := range map[string]*string{
		"id": &req.ID, "method": &req.Method, "scheme": &req.Scheme, "host": &req.Host, "path": &req.Path, "query": &req.Query,
		"protocol": &req.Protocol,
	} {
		if f[name] != nil {
			*field = r.text(f[name])
		}
	}
	if f["time"] != nil {
		req.Time = r.time(f["time"])
	}
	if f["size"] != nil {
		req.Size = r.whole(f["size"], -1, 1<<53)
	}
	r.requestMaps(f, &req)
	if f["body"] != nil {
		r.body(f["body"], &req)
	}
	for name, peer := range map[string]*policy.Peer{"source": &req.Source, "destination": &req.Destination} {
		if f[name] != nil {
			r.peer(f[name], peer)
		}
	}
	return &req
}

// requestMaps reads the fields of a request that are mappings themselves. Each key that is written replaces the one
// that the request has already.
func (r *reader) requestMaps(f map[string]*yaml.Node, req *policy.Request) {
	for _, name := range []string{"headers", "params", "attributes"} {
		if node := f[name]; node != nil && !r.bound(node, len(node.Content)/2) {
			return
		}
	}
	if node := f["headers"]; node != nil {
		req.Headers = r.headers(node, req.Headers)
	}
	if node := f["params"]; node != nil {
		params := slices.Clone(req.Params)
		r.entries(node, "expected a mapping", func(key, value *yaml.Node) {
			params = slices.DeleteFunc(params, func(p policy.Param) bool { return p.Name == key.Value })
			params = append(params, policy.Param{Name: key.Value, Value: r.text(value)})
		})
		r.bound(node, len(params))
		req.Params = params
	}
	if node := f["attributes"]; node != nil {
		attributes := maps.Clone(req.Attributes)
		if attributes == nil {
			attributes = map[string]string{}
		}
		r.entries(node, "expected a mapping", func(key, value *yaml.Node) { attributes[key.Value] = r.text(value) })
		r.bound(node, len(attributes))
		req.Attributes = attributes
	}
	if node := f["metadata"]; node != nil {
		r.metadata(node, req)
	}
}

// maxBody is the longest body of a request, in bytes.
const maxBody = 64 << 10

// body reads a body: a text is the body as it is sent, of which no policy sees anything before it was validated; anything else is
// what validation reads of it, and is sent as JSON.
func (r *reader) body(node *yaml.Node, req *policy.Request) {
	value := r.value(node)
	text, ok := value.(string)
	if !ok {
		req.Parsed = func() (any, error) { return value, nil }
		data, err := json.Marshal(value)
		if err != nil {
			r.errorf(node, "the body cannot be written as JSON")
		}
		text = string(data)
		if _, lines := req.Headers.Get("content-type"); lines == 0 {
			req.Headers = append(slices.Clip(req.Headers), policy.Header{Name: "content-type", Value: "application/json"})
		}
	} else {
		req.Parsed = nil
	}
	if len(text) > maxBody {
		r.errorf(node, "the body is %d bytes long, and at most %d are read", len(text), maxBody)
	}
	req.Body.Bytes = []byte(text)
}

// metadata reads mappings by namespace. Their numbers are those of protobuf's Struct: float64.
func (r *reader) metadata(node *yaml.Node, req *policy.Request) {
	var base map[string]any
	if req.Metadata != nil {
		base = req.Metadata()
	}
	for i := 1; node.Kind == yaml.MappingNode && i < len(node.Content); i += 2 {
		if namespace := node.Content[i]; namespace.Kind != yaml.MappingNode {
			r.errorf(namespace, "the metadata of a namespace is a mapping, and this is %s", kindOf(namespace))
		}
	}
	all := r.object(node, base)
	for namespace, fields := range all {
		all[namespace] = floats(fields)
	}
	req.Metadata = func() map[string]any { return all }
}

// floats returns the value with its numbers as protobuf has them. It makes new maps and lists.
func floats(value any) any {
	switch v := value.(type) {
	case json.Number:
		f, _ := v.Float64() // what is too large becomes an infinity, as in a double
		return f
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = floats(v[i])
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for key := range v {
			object[key] = floats(v[key])
		}
		return object
	}
	return value
}

// headers reads lines by name; a list is a header that came on several lines.
func (r *reader) headers(node *yaml.Node, base policy.Headers) policy.Headers {
	headers := slices.Clone(base)
	seen := map[string]bool{}
	r.entries(node, "expected a mapping", func(key, value *yaml.Node) {
		name := strings.ToLower(key.Value)
		if !isToken(name) {
			r.errorf(key, "%s is no name of a header (RFC 9110, section 5.1)", quote(key.Value))
			return
		}
		if seen[name] {
			r.errorf(key, "the header %s is there twice; write several lines of one as a list", name)
			return
		}
		seen[name] = true
		headers = slices.DeleteFunc(headers, func(h policy.Header) bool { return h.Name == name })
		lines := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			lines = value.Content
		}
		for _, line := range lines {
			headers = append(headers, policy.Header{Name: name, Value: r.text(line)})
		}
	})
	r.bound(node, len(headers))
	return headers
}

func (r *reader) peer(node *yaml.Node, peer *policy.Peer) {
	f := r.fields(node, "an end of the connection", "address", "port", "principal", "certificate")
	if address := f["address"]; address != nil {
		peer.Address = r.text(address)
		if _, err := netip.ParseAddr(peer.Address); err != nil && peer.Address != "" {
			r.errorf(address, "%s is no IP address", quote(peer.Address))
		}
	}
	if f["port"] != nil {
		peer.Port = uint32(r.whole(f["port"], 0, 1<<16-1))
	}
	if f["principal"] != nil {
		peer.Principal = r.text(f["principal"])
	}
	if f["certificate"] != nil {
		peer.Certificate = r.text(f["certificate"])
	}
}

// finishRequest fills in what every request has, and refuses what no enforcer is ever asked: the edge lets one reading
// of a request through only. It says of a canonical request what is wrong with it, where package server makes one of what
// Envoy sends; server's tests hold that what the one takes is what the other makes.
func (r *reader) finishRequest(node *yaml.Node, req policy.Request) *policy.Request {
	if req.Time.IsZero() {
		req.Time = r.now
	}
	count := len(r.findings)
	if !isToken(req.Method) {
		r.errorf(node, "the request's method is %s; write one such as GET", quote(req.Method))
	}
	if fault := pathFault(req.Path); fault != "" {
		r.errorf(node, "the request's path is %s; %s", quote(req.Path), fault)
	}
	if i := strings.IndexFunc(req.Query, func(c rune) bool { return c <= ' ' || c == '#' || c > '~' }); i >= 0 {
		r.errorf(node, "the request's query holds %q, which must be percent-encoded", req.Query[i])
	}
	if req.Scheme != "http" && req.Scheme != "https" {
		r.errorf(node, "the request's scheme is %s; it is http or https", quote(req.Scheme))
	}
	if !isHost(req.Host) {
		r.errorf(node, "the request's host is %s; policies see it in lower case, without a port and without a dot at its end", quote(req.Host))
	}
	if len(r.findings) > count {
		return nil
	}
	return &req
}

// pathFault says why a path is none that policies see.
func pathFault(path string) string {
	if !strings.HasPrefix(path, "/") {
		return "it begins with a slash"
	}
	if len(path) > maxPath {
		return fmt.Sprintf("policies never see one of more than %d bytes", maxPath)
	}
	if i := strings.IndexAny(path, `\;#?%`); i >= 0 {
		return "policies see it decoded and without a query, and never one that holds " + quote(path[i:i+1])
	}
	if strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "policies never see one with a control character"
	}
	if strings.Contains(path, "//") {
		return "policies never see one with an empty segment"
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return "policies never see one with a segment " + quote(segment)
		}
	}
	return ""
}

// isHost reports whether policies may see a host: none, a name or an IPv6 literal in brackets.
func isHost(host string) bool {
	if inside, ok := strings.CutPrefix(host, "["); ok {
		inside, ok = strings.CutSuffix(inside, "]")
		return ok && inside != "" && strings.Trim(inside, "0123456789abcdef:.") == ""
	}
	if len(host) > maxHost {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" && host != "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}
