package web

import (
	"slices"
	"strings"
)

// State is the word for how something is, and what that means for a person. Its JSON is the word. States are comparable;
// the zero State has no word and rests.
type State struct {
	word  string
	level int
}

// levels are what states mean, the least grave first. Icons and colours have these names.
var levels = []string{"off", "ok", "busy", "warn", "bad"}

// OK is a state that is as it should be.
func OK(word string) State { return State{word, 1} }

// Busy is a state on the way to another.
func Busy(word string) State { return State{word, 2} }

// Warn is a state that serves and should be looked at.
func Warn(word string) State { return State{word, 3} }

// Bad is a state that needs a person.
func Bad(word string) State { return State{word, 4} }

// Off is a state that rests on purpose.
func Off(word string) State { return State{word, 0} }

// String is the word.
func (s State) String() string { return s.word }

// Level is "ok", "busy" while something is on its way, "warn", "bad", or "off" for what rests.
func (s State) Level() string { return levels[s.level] }

// MarshalText gives the word.
func (s State) MarshalText() ([]byte, error) { return []byte(s.word), nil }

// Notice is something that a person should know now.
type Notice struct {
	State State `json:"state"`
	// What it is about, and the page that shows it.
	What string `json:"what"`
	Page string `json:"page,omitempty"`
	// Text is one sentence with the reason, Next the step that helps.
	Text string `json:"text"`
	Next string `json:"next,omitempty"`
}

// Gravest sorts notices by their states, the gravest first, and keeps the order of those that are alike.
func Gravest(notices []Notice) {
	slices.SortStableFunc(notices, func(a, b Notice) int { return b.State.level - a.State.level })
}

// Matches says whether each word of a search is part of one of the texts, in any case of letters.
func Matches(query string, texts ...string) bool {
	all := strings.ToLower(strings.Join(texts, "\n"))
	for word := range strings.FieldsSeq(strings.ToLower(query)) {
		if !strings.Contains(all, word) {
			return false
		}
	}
	return true
}
