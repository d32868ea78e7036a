package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// tls compiles the TLS settings; nil is plain text. A file of authorities that is missing, empty or holds anything
// else than certificates is an error: the alternative is a service that asks nobody for a certificate.
func (c *compiler) tls(message *configv1.Tls) *tls.Config {
	if message == nil {
		return nil
	}
	certificate, err := c.files.read(message.GetCertFile())
	if err != nil {
		c.fault("server.tls.cert_file", err)
	}
	key, err := c.files.read(message.GetKeyFile())
	if err != nil {
		c.fault("server.tls.key_file", err)
	}
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		// A resumed session would be trusted by the authorities of the day on which it began.
		SessionTicketsDisabled: true,
	}
	if certificate != nil && key != nil {
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			c.fault("server.tls.cert_file", fmt.Errorf("reading the certificate and its key: %w", err))
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	if message.GetClientCaFile() == "" {
		return cfg
	}
	authorities, err := c.files.read(message.GetClientCaFile())
	if err != nil {
		c.fault("server.tls.client_ca_file", err)
		return cfg
	}
	if cfg.ClientCAs, err = readAuthorities(authorities); err != nil {
		c.fault("server.tls.client_ca_file", err)
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	if names := message.GetClientNames(); len(names) > 0 {
		cfg.VerifyConnection = func(state tls.ConnectionState) error { return checkClientName(state, names) }
	}
	return cfg
}

// readAuthorities reads certificates in PEM, all of them or none: a file that was cut would lock callers out. Text
// between them is a comment.
func readAuthorities(data []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	count := 0
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is a %s, and only certificates may be here", count+1, block.Type)
		}
		authority, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d: %w", count+1, err)
		}
		pool.AddCert(authority)
		count, data = count+1, rest
	}
	switch {
	case bytes.Contains(data, []byte("-----BEGIN")):
		return nil, fmt.Errorf("what begins after certificate %d does not end", count)
	case count == 0:
		return nil, errors.New("the file holds no certificate in PEM")
	}
	return pool, nil
}

// checkClientName compares the names of the caller's certificate, whole, with those that may call.
func checkClientName(state tls.ConnectionState, names []string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the caller shows no certificate")
	}
	leaf := state.PeerCertificates[0]
	for _, name := range leaf.DNSNames {
		if slices.Contains(names, name) {
			return nil
		}
	}
	for _, uri := range leaf.URIs {
		if slices.Contains(names, uri.String()) {
			return nil
		}
	}
	return errors.New("the caller's certificate carries none of the names that may call")
}
