package portal

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/escale-dev/escale/internal/web"
)

const (
	// firstLines is how much of a log is shown at first.
	firstLines = 500
	// maxLine is how much of one line is shown.
	maxLine = 16 << 10
	// mostLines is how many lines are sent at once, and gatherLines how long the first of them waits.
	mostLines   = 250
	gatherLines = 50 * time.Millisecond
)

// logLine is one line of a log.
type logLine struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// logQuestion is which log, and after which time.
type logQuestion struct {
	namespace, pod, container string
	previous                  bool
	after                     time.Time
}

func (p *portal) logQuestionOf(r *http.Request) logQuestion {
	q := logQuestion{
		namespace: r.PathValue("namespace"), pod: r.PathValue("name"),
		container: r.FormValue("container"), previous: r.FormValue("previous") == "true",
	}
	for _, id := range []string{r.Header.Get("Last-Event-ID"), r.FormValue("since")} {
		if at, err := time.Parse(time.RFC3339Nano, id); err == nil {
			q.after = at
			break
		}
	}
	return q
}

// logs serves a container's log: live for an event source, else its last lines as text.
func (p *portal) logs(w http.ResponseWriter, r *http.Request) error {
	q := p.logQuestionOf(r)
	if !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		return p.lastLines(w, r, q)
	}
	stream, err := web.NewStream(w, r)
	if err != nil {
		return nil // the reader is gone
	}
	defer stream.Close()
	if err := p.follow(r.Context(), stream, q); err != nil && r.Context().Err() == nil {
		p.log.Debug("log stream ended", "pod", q.namespace+"/"+q.pod, "err", err)
	}
	return nil
}

func (p *portal) lastLines(w http.ResponseWriter, r *http.Request, q logQuestion) error {
	body, err := p.open(r.Context(), q, false)
	if err != nil {
		return &web.Error{Code: http.StatusNotFound, Message: sentence(err.Error())}
	}
	defer body.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := io.Copy(w, body); err != nil {
		p.log.Debug("log ended early", "pod", q.namespace+"/"+q.pod, "err", err)
	}
	return nil
}

// open asks the API server for the log.
func (p *portal) open(ctx context.Context, q logQuestion, follow bool) (io.ReadCloser, error) {
	lines := int64(firstLines)
	options := &corev1.PodLogOptions{
		Container: q.container, Previous: q.previous, Follow: follow && !q.previous, Timestamps: true, TailLines: &lines,
	}
	if !q.after.IsZero() {
		after := metav1.NewTime(q.after)
		options.SinceTime = &after
	}
	return p.kube.CoreV1().Pods(q.namespace).GetLogs(q.pod, options).Stream(ctx)
}

// follow sends the log and, when the container ends, that of the one that takes its place, until the reader is gone.
func (p *portal) follow(ctx context.Context, stream *web.Stream, q logQuestion) error {
	changes := p.hub.changes(ctx)
	for {
		container := p.containerID(ctx, q)
		state, err := p.send(ctx, stream, &q)
		if err != nil {
			return err
		}
		if err := stream.Send(web.Message{Event: "state", Data: state}); err != nil {
			return err
		}
		for q.previous || p.containerID(ctx, q) == container {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-changes:
			}
		}
	}
}

// containerID is that of the container that runs or ran last; empty when there is none.
func (p *portal) containerID(ctx context.Context, q logQuestion) string {
	var pod corev1.Pod
	if err := p.reader.Get(ctx, client.ObjectKey{Namespace: q.namespace, Name: q.pod}, &pod); err != nil {
		return ""
	}
	statuses := containerStatuses(&pod)
	i := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == q.container })
	if i < 0 {
		return ""
	}
	if s := statuses[i]; s.State.Running != nil || s.State.Terminated != nil {
		return s.ContainerID
	}
	return ""
}

// send copies the log of one container until it ends, and says what a reader should know then. Its error means that
// the reader is gone.
func (p *portal) send(ctx context.Context, stream *web.Stream, q *logQuestion) (state string, err error) {
	body, err := p.open(ctx, *q, true)
	if apierrors.IsNotFound(err) {
		return "The pod is gone.", nil
	}
	if err != nil {
		return sentence(err.Error()), nil
	}
	defer body.Close()
	state = "Following"
	if q.previous {
		state = "The container before this one, as it ended"
	}
	if err := stream.Send(web.Message{Event: "state", Data: state}); err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan logLine, mostLines)
	go readLines(ctx, body, lines)
	if err := sendLines(stream, lines, q); err != nil {
		return "", err
	}
	if q.previous {
		return "The container before this one, as it ended", nil
	}
	return "The container has ended. Its next start will show here.", nil
}

// readLines sends the lines of r until its end, an error, or the end of ctx, and closes lines.
func readLines(ctx context.Context, r io.Reader, lines chan<- logLine) {
	defer close(lines)
	in := bufio.NewReaderSize(r, maxLine)
	for {
		raw, err := readLine(in)
		if line, ok := parseLine(raw); ok {
			select {
			case lines <- line:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// readLine reads a line of any length and keeps its first maxLine bytes.
func readLine(in *bufio.Reader) (string, error) {
	part, err := in.ReadSlice('\n')
	line := string(part)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = in.ReadSlice('\n')
	}
	return line, err
}

// parseLine splits the time that the API server puts before each line from its text. Control sequences for terminals
// mean nothing on a page and are taken out.
func parseLine(raw string) (logLine, bool) {
	stamp, text, _ := strings.Cut(strings.TrimRight(raw, "\r\n"), " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return logLine{}, false
	}
	return logLine{Time: at.UTC(), Text: strings.ToValidUTF8(plain(text), "\uFFFD")}, true
}

// plain takes out ANSI control sequences (ECMA-48, CSI) and other control characters but the tab.
func plain(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == 0x1b && i+1 < len(s) && s[i+1] == '[':
			for i += 2; i < len(s) && (s[i] < 0x40 || s[i] > 0x7e); i++ {
			}
		case c == '\t' || c >= 0x20 && c != 0x7f:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// sendLines sends lines in groups until there are no more. Lines that the reader has are passed over: the API server
// counts in whole seconds.
func sendLines(stream *web.Stream, lines <-chan logLine, q *logQuestion) error {
	for line := range lines {
		group := gatherGroup(line, lines)
		group = slices.DeleteFunc(group, func(l logLine) bool { return !l.Time.After(q.after) })
		if len(group) == 0 {
			continue
		}
		data, err := json.Marshal(group)
		if err != nil {
			return fmt.Errorf("encoding log lines: %w", err)
		}
		q.after = group[len(group)-1].Time
		id := q.after.Format(time.RFC3339Nano)
		if err := stream.Send(web.Message{Event: "lines", ID: id, Data: string(data)}); err != nil {
			return err
		}
	}
	return nil
}

func gatherGroup(first logLine, lines <-chan logLine) []logLine {
	group := []logLine{first}
	timer := time.NewTimer(gatherLines)
	defer timer.Stop()
	for len(group) < mostLines {
		select {
		case line, ok := <-lines:
			if !ok {
				return group
			}
			group = append(group, line)
		case <-timer.C:
			return group
		}
	}
	return group
}
