package server

import (
	"crypto/tls"
	"crypto/x509"
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
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(authorities) {
		c.fault("server.tls.client_ca_file", errors.New("the file holds no certificate in PEM"))
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	if names := message.GetClientNames(); len(names) > 0 {
		cfg.VerifyConnection = func(state tls.ConnectionState) error { return checkClientName(state, names) }
	}
	return cfg
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
