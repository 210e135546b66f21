//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs certificates that its cluster trusts.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes an authority, and writes its certificate to ca.crt.
func newAuthority(dir string) (*authority, error) {
	a := &authority{dir: dir}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "cluster"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if err := a.sign("ca", template); err != nil {
		return nil, err
	}
	return a, nil
}

// issue writes NAME.crt and NAME.key for a user of the cluster, or for a server on the loopback interface.
func (a *authority) issue(name, user, group string, hosts ...string) error {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: user},
		DNSNames:    hosts,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if group != "" {
		template.Subject.Organization = []string{group}
	}
	return a.sign(name, template)
}

// sign writes a certificate and its key. The first one is the authority's own.
func (a *authority) sign(name string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(now.UnixNano()), now.Add(-time.Hour), now.Add(24*time.Hour)
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = template, key
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	if a.cert == nil {
		a.key = key
		if a.cert, err = x509.ParseCertificate(cert); err != nil {
			return err
		}
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(a.path(name+".key"), "PRIVATE KEY", raw); err != nil {
		return err
	}
	return writePEM(a.path(name+".crt"), "CERTIFICATE", cert)
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func writePEM(path, kind string, raw []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600)
}

// kubeconfig issues a certificate for a user, and writes the file with which that user reaches the apiserver.
func (a *authority) kubeconfig(name, server, user, group string) (string, error) {
	if err := a.issue(name, user, group); err != nil {
		return "", err
	}
	path := a.path(name + ".kubeconfig")
	return path, writeJSON(path, map[string]any{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": "cluster",
		"contexts":        []any{map[string]any{"name": "cluster", "context": map[string]any{"cluster": "cluster", "user": name}}},
		"clusters": []any{map[string]any{"name": "cluster", "cluster": map[string]any{
			"server": server, "certificate-authority": a.path("ca.crt"),
		}}},
		"users": []any{map[string]any{"name": name, "user": map[string]any{
			"client-certificate": a.path(name + ".crt"), "client-key": a.path(name + ".key"),
		}}},
	})
}

func writeJSON(path string, value any) error {
	raw, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}
