package network

import (
	"errors"
	"net"
	"testing"
)

func TestMergeServesAllAddresses(t *testing.T) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all, err := Merge(first, "127.0.0.2:0", "127.0.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	if all.Addr() != first.Addr() {
		t.Errorf("the address is %s, want that of the first, %s", all.Addr(), first.Addr())
	}
	for _, part := range all.(*merged).parts {
		c, err := net.Dial("tcp", part.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := all.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got.LocalAddr().String() != part.Addr().String() {
			t.Errorf("accepted on %s, want %s", got.LocalAddr(), part.Addr())
		}
		got.Close()
		c.Close()
	}
}

func TestMergeClosesAll(t *testing.T) {
	all, err := Listen("127.0.0.1:0", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		_, err := all.Accept()
		waiting <- err
	}()
	if err := all.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("waiting Accept: %v, want %v", err, net.ErrClosed)
	}
	for _, part := range all.(*merged).parts {
		if c, err := net.Dial("tcp", part.Addr().String()); err == nil {
			c.Close()
			t.Errorf("%s still answers", part.Addr())
		}
	}
}

func TestMergeThatFailsLeavesNothingOpen(t *testing.T) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Merge(first, first.Addr().String()); err == nil {
		t.Fatal("an address in use was accepted")
	}
	if _, err := first.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the first listener: %v, want %v", err, net.ErrClosed)
	}
}
