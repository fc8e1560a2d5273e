package web

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// CookieName is the session's cookie. A browser sends a cookie to every port of a host, so whatever forwards requests
// of this machine to applications must take it out.
const CookieName = "escale_session"

const (
	sessionLife  = 30 * 24 * time.Hour
	maxSessions  = 100
	maxTokens    = 16
	sessionsFile = "sessions.json"
)

// gate knows who may enter: the one-time tokens and the sessions, all as hashes.
type gate struct {
	path    string
	damaged error // why the file of sessions was left aside
	limit   *rate.Limiter

	mu       sync.Mutex
	tokens   []string // oldest first
	sessions []session
}

// session is one browser that is logged in.
type session struct {
	Hash    string    `json:"hash"`
	Expires time.Time `json:"expires"`
}

func openGate(dir string) (*gate, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// Guessing 256 bits is hopeless at any rate; the limit keeps a program that tries from costing anything.
	g := &gate{path: filepath.Join(dir, sessionsFile), limit: rate.NewLimiter(1, 10)}
	b, err := os.ReadFile(g.path)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &g.sessions); err != nil {
		g.sessions, g.damaged = nil, fmt.Errorf("reading %q: %w", g.path, err)
	}
	return g, nil
}

// secret is a random value of 256 bits and its hash.
func secret() (value, hash string) {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	value = base64.RawURLEncoding.EncodeToString(b)
	return value, hashOf(value)
}

func hashOf(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

func (g *gate) newToken() string {
	token, hash := secret()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tokens = append(g.tokens, hash)
	if len(g.tokens) > maxTokens {
		g.tokens = slices.Delete(g.tokens, 0, len(g.tokens)-maxTokens)
	}
	return token
}

// exchange turns a token, which is used up, into the value of a session's cookie.
func (g *gate) exchange(token string, now time.Time) (cookie string, ok bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.tokens, hashOf(token))
	if i < 0 {
		return "", false, nil
	}
	g.tokens = slices.Delete(g.tokens, i, i+1)
	cookie, hash := secret()
	g.sessions = slices.DeleteFunc(g.sessions, func(s session) bool { return !now.Before(s.Expires) })
	g.sessions = append(g.sessions, session{Hash: hash, Expires: now.Add(sessionLife).UTC()})
	if len(g.sessions) > maxSessions {
		g.sessions = slices.Delete(g.sessions, 0, len(g.sessions)-maxSessions)
	}
	return cookie, true, g.saveLocked()
}

func (g *gate) known(cookie string, now time.Time) bool {
	hash := hashOf(cookie)
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.sessions, func(s session) bool { return s.Hash == hash && now.Before(s.Expires) })
}

func (g *gate) forget(cookie string) error {
	hash := hashOf(cookie)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sessions = slices.DeleteFunc(g.sessions, func(s session) bool { return s.Hash == hash })
	return g.saveLocked()
}

func (g *gate) saveLocked() error {
	b, err := json.Marshal(g.sessions)
	if err != nil {
		return fmt.Errorf("encoding sessions: %w", err)
	}
	if err := os.WriteFile(g.path+".new", b, 0o600); err != nil {
		return fmt.Errorf("writing sessions: %w", err)
	}
	if err := os.Rename(g.path+".new", g.path); err != nil {
		return fmt.Errorf("writing sessions: %w", err)
	}
	return nil
}

// session lets requests with a session through. Others learn how to get one.
func (s *Server) session(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie(CookieName)
		if err == nil && s.gate.known(c.Value, time.Now()) {
			next.ServeHTTP(w, r)
			return
		}
		if err != nil && followedForeignLink(r) {
			s.render(w, http.StatusOK, entry, frame{Title: "Escale", Refresh: r.URL.RequestURI()})
			return
		}
		s.fail(w, r, loginNeeded(""))
	})
}

// followedForeignLink says whether a person came by a link on another site, a chat for example. A browser keeps a
// strict cookie back from such a request, but sends it when the page then loads itself again.
func followedForeignLink(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
		(site == "cross-site" || site == "same-site")
}

func loginNeeded(message string) *Error {
	if message == "" {
		message = "You are not logged in."
	}
	return &Error{Code: http.StatusUnauthorized, Message: message, Next: "escale open", login: true}
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("token")
	if token == "" {
		s.fail(w, r, loginNeeded(""))
		return
	}
	if !s.gate.limit.Allow() {
		w.Header().Set("Retry-After", "5")
		s.fail(w, r, &Error{Code: http.StatusTooManyRequests, Message: "Too many attempts to log in.",
			Next: "Wait a few seconds, then open the link again.", login: true})
		return
	}
	cookie, ok, err := s.gate.exchange(token, time.Now())
	if err != nil {
		s.cfg.Log.Error("portal session kept in memory only", "err", err)
	}
	if !ok {
		s.fail(w, r, loginNeeded("This link was used already, or is not of this platform."))
		return
	}
	if s.cfg.LoginUsed != nil {
		s.cfg.LoginUsed(s.LoginURL())
	}
	http.SetCookie(w, sessionCookie(cookie, int(sessionLife.Seconds())))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(CookieName); err == nil {
		if err := s.gate.forget(c.Value); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	http.SetCookie(w, sessionCookie("", -1))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// sessionCookie is not marked Secure: browsers disagree on whether http on loopback may set such a cookie.
func sessionCookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: CookieName, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true,
		SameSite: http.SameSiteStrictMode}
}
