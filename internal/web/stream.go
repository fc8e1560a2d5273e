package web

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Stream is a response of server-sent events (WHATWG HTML, section 9.2). Its methods may be called at the same time.
type Stream struct {
	mu   sync.Mutex
	w    http.ResponseWriter
	out  *http.ResponseController
	done chan struct{}
	idle sync.WaitGroup
}

// Message is one event.
type Message struct {
	// Event is its name.
	Event string
	// ID, when not empty, is what the browser sends as Last-Event-ID after a lost connection.
	ID string
	// Data may hold several lines.
	Data string
}

const (
	// keepAlive is how often an idle stream says something, so that both ends notice when the other is gone.
	keepAlive = 15 * time.Second
	// sendPatience is how long a reader may take to accept what is sent.
	sendPatience = 10 * time.Second
)

// NewStream begins the response. The caller calls Close before its handler returns.
func NewStream(w http.ResponseWriter, r *http.Request) (*Stream, error) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	s := &Stream{w: w, out: http.NewResponseController(w), done: make(chan struct{})}
	if err := s.write("retry: 1000\n\n"); err != nil {
		return nil, fmt.Errorf("beginning stream: %w", err)
	}
	s.idle.Go(func() { s.beat(r) })
	return s, nil
}

// Send writes one event. An error means that the reader is gone.
func (s *Stream) Send(m Message) error {
	if err := s.write(m.encode()); err != nil {
		return fmt.Errorf("sending event %q: %w", m.Event, err)
	}
	return nil
}

// Close ends the stream's own work; the response ends when the handler returns.
func (s *Stream) Close() {
	close(s.done)
	s.idle.Wait()
}

func (s *Stream) beat(r *http.Request) {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-r.Context().Done():
			return
		case <-tick.C:
			if s.write(": still here\n\n") != nil {
				return
			}
		}
	}
}

func (s *Stream) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.out.SetWriteDeadline(time.Now().Add(sendPatience)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.out.Flush()
}

// lineEnds are what ends a line in an event stream, and so cannot be part of one.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func (m Message) encode() string {
	var b strings.Builder
	if m.Event != "" {
		fmt.Fprintf(&b, "event: %s\n", m.Event)
	}
	if m.ID != "" {
		fmt.Fprintf(&b, "id: %s\n", m.ID)
	}
	for line := range strings.SplitSeq(lineEnds.Replace(m.Data), "\n") {
		fmt.Fprintf(&b, "data: %s\n", line)
	}
	b.WriteByte('\n')
	return b.String()
}
