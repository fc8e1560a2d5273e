package traffic

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/escale-dev/escale/internal/traffic/fastpath"
	"golang.org/x/sys/unix"
)

const (
	idleConnections = 10_000
	// idleBytes is what a connection without a request may cost on the path on net/http: two buffers of 4 KiB, the stacks
	// of its goroutines, and what the runtime needs for the descriptor. The race detector doubles it.
	idleBytes = 40 << 10
	// idleClients makes this test program the clients of another one: it holds the address of the gateway.
	idleClients = "ESCALE_TEST_IDLE_CLIENTS"
)

// Ten thousand connections without a request are held in bounded memory, and the gateway goes on answering.
func TestTenThousandIdleConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("opens ten thousand connections, which -short leaves out")
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur < idleConnections+1000 {
		t.Skipf("needs %d open files, %d are allowed: %v", idleConnections+1000, files.Cur, err)
	}
	for name, route := range map[string]string{"raw": toWeb, "net/http": throughNetHTTP} {
		t.Run(name, func(t *testing.T) {
			p := startPlane(t, web(backendServer(t, describe)), base, httpRoute("r", route))
			p.expect(200, "", "GET", "/")
			p.gateway.connections.limit.Store(idleConnections + 10)
			bounds := fastpath.Room{Limit: idleConnections + 10}
			p.gateway.fronts.mu.Lock()
			for front := range p.gateway.fronts.open {
				front.Bound(&bounds)
			}
			p.gateway.fronts.mu.Unlock()
			before := memoryInUse()
			startIdleClients(t, p.address)
			each := (memoryInUse() - before) / idleConnections
			t.Logf("%d bytes for each of %d connections", each, idleConnections)
			if each > idleBytes {
				t.Errorf("an idle connection costs %d bytes, want at most %d", each, idleBytes)
			}
			if p.metric("connections") < idleConnections || p.metric("connections_turned_away_total") != 0 {
				t.Errorf("%v connections, %v turned away", p.metric("connections"), p.metric("connections_turned_away_total"))
			}
			p.expect(200, "", "GET", "/")
		})
	}
}

// startIdleClients returns once every connection has had an answer. The clients have their own process, because a
// process may not have twice as many files.
func startIdleClients(t *testing.T, address string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestIdleClients$")
	cmd.Env = append(os.Environ(), idleClients+"="+address)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the clients said %q, %v", line, err)
	}
}

// TestIdleClients is the process of startIdleClients.
func TestIdleClients(t *testing.T) {
	address := os.Getenv(idleClients)
	if address == "" {
		t.Skip("part of TestTenThousandIdleConnections")
	}
	for range idleConnections {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("got %v, %v", res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// memoryInUse is the memory of the heap and of the stacks that is in use after a collection.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
