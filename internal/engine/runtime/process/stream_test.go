package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// stream speaks to the address as the kubelet's clients do.
func stream(t *testing.T, address string, o remotecommand.StreamOptions) error {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	e, err := remotecommand.NewSPDYExecutor(&rest.Config{}, "POST", u)
	if err != nil {
		t.Fatal(err)
	}
	return e.StreamWithContext(t.Context(), o)
}

func TestExecStreams(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	id := b.start(pod, program("sleep", "1000"))
	exec := func(req *runtimeapi.ExecRequest) string {
		req.ContainerId = id
		resp, err := b.Exec(t.Context(), req)
		b.must(err)
		return resp.Url
	}
	var out, errOut bytes.Buffer
	err := stream(t, exec(&runtimeapi.ExecRequest{Cmd: []string{"sh", "-c", "cat; echo oops >&2; exit 5"}, Stdin: true, Stdout: true, Stderr: true}),
		remotecommand.StreamOptions{Stdin: strings.NewReader("input"), Stdout: &out, Stderr: &errOut})
	if code, ok := errors.AsType[utilexec.CodeExitError](err); !ok || code.Code != 5 || out.String() != "input" || errOut.String() != "oops\n" {
		t.Errorf("got %q %q %v", out.String(), errOut.String(), err)
	}
	out.Reset()
	err = stream(t, exec(&runtimeapi.ExecRequest{Cmd: []string{"sh", "-c", "tty; while [ \"$(stty size)\" = '0 0' ]; do :; done; stty size"}, Stdin: true, Stdout: true, Tty: true}),
		remotecommand.StreamOptions{Stdin: blocked{t.Context()}, Stdout: &out, Tty: true, TerminalSizeQueue: &oneSize{t: t.Context()}})
	if err != nil || !strings.HasPrefix(out.String(), "/dev/pts/") || !strings.HasSuffix(out.String(), "24 80\r\n") {
		t.Errorf("got %q %v", out.String(), err)
	}
}

// blocked is the input of someone who types nothing.
type blocked struct{ ctx context.Context }

func (b blocked) Read([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, io.EOF
}

// oneSize is a terminal of 80 columns and 24 lines that is never resized.
type oneSize struct {
	t    context.Context
	told bool
}

func (s *oneSize) Next() *remotecommand.TerminalSize {
	if s.told {
		<-s.t.Done()
		return nil
	}
	s.told = true
	return &remotecommand.TerminalSize{Width: 80, Height: 24}
}

func TestAttach(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	c := shell("read line; echo got $line; echo oops >&2; exit 0")
	c.Stdin, c.StdinOnce = true, true
	id := b.start(pod, c)
	resp, err := b.Attach(t.Context(), &runtimeapi.AttachRequest{ContainerId: id, Stdin: true, Stdout: true, Stderr: true})
	b.must(err)
	var out, errOut bytes.Buffer
	err = stream(t, resp.Url, remotecommand.StreamOptions{Stdin: strings.NewReader("input\n"), Stdout: &out, Stderr: &errOut})
	if err != nil || out.String() != "got input\n" || errOut.String() != "oops\n" {
		t.Errorf("got %q %q %v", out.String(), errOut.String(), err)
	}
	if st := b.wait(id); st.ExitCode != 0 || b.logs(id) == "" {
		t.Errorf("code %d, log %q", st.ExitCode, b.logs(id))
	}
}

func TestSlowClientIsCutOff(t *testing.T) {
	var f fanout
	me := f.join()
	for range clientRoom + 1 {
		f.send("stdout", []byte("x"))
	}
	if err := me.follow(t.Context(), map[string]io.Writer{"stdout": io.Discard}); !errors.Is(err, errSlow) {
		t.Errorf("got %v", err)
	}
	f.close()
	if _, ok := <-f.join().chunks; ok {
		t.Error("output after the end")
	}
}
