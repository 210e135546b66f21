// Package line says how much of what was sent over a connection has arrived at the other end. The system knows that; a
// program sees only what it has handed over to it, which may be megabytes more.
package line

import (
	"net"
	"syscall"
)

// Arrived returns how many bytes the other end of a TCP connection, with or without TLS, has acknowledged so far. known is
// false if the system does not tell.
func Arrived(conn net.Conn) (bytes uint64, known bool) {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn()
	}
	system, ok := conn.(syscall.Conn)
	if !ok {
		return 0, false
	}
	raw, err := system.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) { bytes, known = arrived(int(fd)) })
	return bytes, known && err == nil
}
