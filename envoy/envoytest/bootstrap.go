package envoytest

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// rewrite returns the bootstrap with its addresses replaced and an admin listener on a free loopback port. An
// address that the bootstrap does not have is an error, for then it is not the bootstrap that the caller meant.
func rewrite(bootstrap []byte, addresses map[string]string) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(bootstrap, &document); err != nil {
		return nil, fmt.Errorf("reading the bootstrap: %w", err)
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("reading the bootstrap: it is not a YAML mapping")
	}
	r := rewriter{addresses: addresses, used: map[string]bool{}}
	r.admin(document.Content[0])
	r.walk(&document)
	for from := range addresses {
		if !r.used[from] {
			r.errs = append(r.errs, fmt.Errorf("no socket_address of the bootstrap is %s", from))
		}
	}
	if err := errors.Join(r.errs...); err != nil {
		return nil, fmt.Errorf("rewriting the bootstrap: %w", err)
	}
	return yaml.Marshal(&document)
}

type rewriter struct {
	addresses map[string]string
	used      map[string]bool
	errs      []error
}

// admin gives the bootstrap an admin listener on a free port, unless its own is among the addresses.
func (r *rewriter) admin(root *yaml.Node) {
	admin := field(root, "admin")
	if admin == nil {
		admin = &yaml.Node{Kind: yaml.MappingNode}
		setField(root, "admin", admin)
	}
	if address := field(admin, "address"); address != nil {
		for _, name := range []string{"socket_address", "socketAddress"} {
			if socket := field(address, name); socket != nil {
				if _, named := r.addresses[hostPort(socket)]; named {
					return
				}
			}
		}
	}
	var free yaml.Node
	if err := free.Encode(map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": 0}}); err != nil {
		r.errs = append(r.errs, err)
		return
	}
	setField(admin, "address", &free)
}

// walk rewrites every socket_address below the node. An anchored node is met where it stands, and so not again
// where an alias refers to it.
func (r *rewriter) walk(node *yaml.Node) {
	if node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			if slices.Contains([]string{"socket_address", "socketAddress"}, node.Content[i].Value) {
				r.socket(node.Content[i+1])
			}
		}
	}
	for _, child := range node.Content {
		r.walk(child)
	}
}

func (r *rewriter) socket(socket *yaml.Node) {
	from := hostPort(socket)
	to, ok := r.addresses[from]
	if !ok {
		return
	}
	r.used[from] = true
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s for %s is not host:port: %w", to, from, err))
		return
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s for %s: the port is not a number from 0 to 65535", to, from))
		return
	}
	var value yaml.Node
	value.SetString(host)
	setField(socket, "address", &value)
	name := "port_value"
	if field(socket, name) == nil {
		name = "portValue"
	}
	setField(socket, name, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatUint(number, 10)})
}

// hostPort is the host:port of a socket_address, empty where it has no number for a port.
func hostPort(socket *yaml.Node) string {
	address, port := field(socket, "address"), field(socket, "port_value")
	if port == nil {
		port = field(socket, "portValue")
	}
	if address == nil || port == nil {
		return ""
	}
	return net.JoinHostPort(address.Value, port.Value)
}

func field(mapping *yaml.Node, name string) *yaml.Node {
	if mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i+1]
		}
	}
	return nil
}

func setField(mapping *yaml.Node, name string, value *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			mapping.Content[i+1] = value
			return
		}
	}
	mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, value)
}
