package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// View is what a page shows: a struct whose JSON is the page for scripts, and only grows.
type View interface {
	// Title of the page, as in the tab of a browser.
	Title() string
}

// Page is one address of the portal.
type Page struct {
	// Section is the path of the entry of the navigation that the page belongs to.
	Section string
	// Template comes from Parse. Its "page" is executed with the view. Each of its templates whose name begins with
	// "live-" gives one element with an id, which is sent anew when it has changed.
	Template *template.Template
	// View gathers what the page shows. An *Error is shown as it is.
	View func(r *http.Request) (View, error)
	// Changes tells when the view may have changed, until ctx ends; nil for a page that stays as it is.
	Changes func(ctx context.Context) <-chan struct{}
}

// Page serves p at a pattern of http.ServeMux without a method, such as "/apps/{namespace}/{name}".
func (s *Server) Page(pattern string, p Page) {
	s.mux.Handle("GET "+pattern, s.session(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if p.Changes != nil && accepts(r, "text/event-stream") {
			s.live(w, r, p)
			return
		}
		view, err := p.View(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if accepts(r, "application/json") {
			s.json(w, http.StatusOK, view)
			return
		}
		s.render(w, http.StatusOK, p.Template, frame{
			Title: view.Title() + " · Escale", Section: p.Section, Live: p.Changes != nil, View: view,
		})
	})))
}

// Stream serves h, which writes its own answer through NewStream, to those who have a session.
func (s *Server) Stream(pattern string, h func(w http.ResponseWriter, r *http.Request) error) {
	s.mux.Handle("GET "+pattern, s.session(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil && r.Context().Err() == nil {
			s.fail(w, r, err)
		}
	})))
}

// Done is the result of an action.
type Done struct {
	// Message is one sentence in the past tense.
	Message string `json:"message"`
	// Page to show next, a path of the portal.
	Page string `json:"page"`
}

// Action serves a POST that changes something. Scripts get Done as JSON, browsers go to its page.
func (s *Server) Action(pattern string, act func(r *http.Request) (Done, error)) {
	s.mux.Handle("POST "+pattern, s.session(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		done, err := act(r)
		switch {
		case err != nil:
			s.fail(w, r, err)
		case accepts(r, "application/json"):
			s.json(w, http.StatusOK, done)
		default:
			http.Redirect(w, r, done.Page, http.StatusSeeOther)
		}
	})))
}

// Error is a failure as a person is told it. Other errors are logged and shown as an internal one.
type Error struct {
	// Code is the HTTP status.
	Code int `json:"code"`
	// Message is a sentence that says what is wrong.
	Message string `json:"message"`
	// Next is the step that helps: a sentence, or a command.
	Next string `json:"next,omitempty"`

	login bool
}

// Error is the message and the next step.
func (e *Error) Error() string { return e.Message + " " + e.Next }

// NotFound is the error for something that is not there.
func NotFound(message, next string) *Error {
	return &Error{Code: http.StatusNotFound, Message: message, Next: next}
}

// errorView is the page of an Error.
type errorView struct {
	*Error
	// Login shows how to log in, and a field for a token.
	Login bool `json:"-"`
}

func (v errorView) Title() string { return http.StatusText(v.Code) }

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) {
		s.cfg.Log.Error("portal page failed", "path", r.URL.Path, "err", err)
		e = &Error{Code: http.StatusInternalServerError, Message: "The page could not be made: " + err.Error() + "."}
	}
	view := errorView{Error: e, Login: e.login}
	if !accepts(r, "text/html") {
		s.json(w, e.Code, view)
		return
	}
	tmpl, section := failure, "-"
	if e.login {
		tmpl, section = entry, ""
	}
	s.render(w, e.Code, tmpl, frame{Title: view.Title() + " · Escale", Section: section, View: view})
}

func (s *Server) json(w http.ResponseWriter, code int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		s.cfg.Log.Error("portal view could not be encoded", "err", err)
		http.Error(w, "the view could not be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	s.write(w, append(b, '\n'))
}

// write sends a body. That the reader is gone concerns nobody else.
func (s *Server) write(w http.ResponseWriter, body []byte) {
	if _, err := w.Write(body); err != nil {
		s.cfg.Log.Debug("portal reader is gone", "err", err)
	}
}

// accepts says whether the request names the media type. It does not weigh alternatives: browsers name text/html,
// event sources text/event-stream, and whoever wants JSON says so.
func accepts(r *http.Request, media string) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		name, _, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(name), media) {
			return true
		}
	}
	return false
}

// live sends the page's live elements: all of them first, then those that changed.
func (s *Server) live(w http.ResponseWriter, r *http.Request, p Page) {
	stream, err := NewStream(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer stream.Close()
	changes := p.Changes(r.Context())
	sent := map[string]string{}
	for {
		if err := s.sendFragments(stream, r, p, sent); err != nil {
			if r.Context().Err() == nil {
				s.cfg.Log.Debug("portal stream ended", "path", r.URL.Path, "err", err)
			}
			return
		}
		select {
		case <-r.Context().Done():
			return
		case _, ok := <-changes:
			if !ok {
				return
			}
		}
	}
}

// ageText is the text of a time element: it says how long ago, so it differs whenever it is asked for. It is left out of
// what is compared and sent; the browser writes it.
var ageText = regexp.MustCompile(`(<time data-age[^>]*>)[^<]*`)

func (s *Server) sendFragments(stream *Stream, r *http.Request, p Page, sent map[string]string) error {
	view, err := p.View(r)
	var gone *Error
	if errors.As(err, &gone) {
		return stream.Send(Message{Event: "gone", Data: gone.Message})
	}
	if err != nil {
		return err
	}
	for _, name := range liveNames(p.Template) {
		var b bytes.Buffer
		if err := p.Template.ExecuteTemplate(&b, name, view); err != nil {
			return fmt.Errorf("rendering %q: %w", name, err)
		}
		html := ageText.ReplaceAllString(b.String(), "$1")
		if sent[name] == html {
			continue
		}
		if err := stream.Send(Message{Event: "fragment", Data: html}); err != nil {
			return err
		}
		sent[name] = html
	}
	return nil
}

func liveNames(t *template.Template) []string {
	var names []string
	for _, t := range t.Templates() {
		if strings.HasPrefix(t.Name(), "live-") {
			names = append(names, t.Name())
		}
	}
	slices.Sort(names)
	return names
}
