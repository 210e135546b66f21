package line_test

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/ocicache/ocicache/internal/line"
)

// TestArrived sends to somebody who reads, and sees what he has got.
func TestArrived(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	before, known := line.Arrived(conn)
	if known != (runtime.GOOS == "linux") {
		t.Errorf("known: %t", known)
	}
	if !known {
		return
	}
	const size = 1000
	if _, err := conn.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(other, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		now, _ := line.Arrived(conn)
		if now-before >= size {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes have arrived, want %d", now-before, size)
		}
	}
}

// TestArrivedElsewhere asks about something else than TCP.
func TestArrivedElsewhere(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	if _, known := line.Arrived(here); known {
		t.Error("nobody can know that")
	}
}
