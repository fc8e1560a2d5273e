package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"time"
)

//go:embed *.html
var shellFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// assets maps the name of an asset to the address that holds its hash, so that browsers keep it for ever.
var assets = hashAssets()

var (
	entry   = Parse(shellFiles, "entry.html")
	failure = Parse(shellFiles, "failure.html")
)

// Parse makes the template of a page from files that define "page" and, for what changes, "live-…". Beside what
// html/template knows, they may use:
//
//	{{template "state" .State}}   icon and text of a value with the methods Level and String
//	{{template "notices" .}}      the items of a list of Notices
//	{{age .Time}}                 how long ago, kept up to date by the browser
//	{{clock .Time}}               date and time in UTC
//	{{took .Duration}}            a duration, rounded to what a reader needs
//	{{icon "name"}}               an icon of layout.html
//
// It panics on a mistake in a template: they are part of the program.
func Parse(files fs.FS, patterns ...string) *template.Template {
	t := template.New("").Funcs(template.FuncMap{
		"age":   func(at time.Time) template.HTML { return ageElement(at, time.Now()) },
		"asset": func(name string) string { return assets[name] },
		"clock": func(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05") },
		"icon":  icon,
		"took":  Took,
	})
	template.Must(t.ParseFS(shellFiles, "layout.html"))
	return template.Must(t.ParseFS(files, patterns...))
}

// frame is what layout.html shows around a page.
type frame struct {
	Title    string
	Section  string
	Sections []Section
	Live     bool
	View     any
	Version  string
	Refresh  string // address to load next, for a page that is only a step
}

func (s *Server) render(w http.ResponseWriter, code int, t *template.Template, f frame) {
	f.Sections, f.Version = s.sections, s.cfg.Version
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "layout", f); err != nil {
		s.cfg.Log.Error("portal page could not be rendered", "title", f.Title, "err", err)
		http.Error(w, "the page could not be rendered; the platform's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	s.write(w, b.Bytes())
}

func icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" aria-hidden="true"><use href="#i-` + template.HTMLEscapeString(name) + `"/></svg>`)
}

// ageElement is a time as its distance from now, with the exact time to look up.
func ageElement(at, now time.Time) template.HTML {
	if at.IsZero() {
		return "–"
	}
	exact := at.UTC().Format(time.RFC3339)
	return template.HTML(fmt.Sprintf(`<time data-age datetime=%q title=%q>%s</time>`, exact, exact, Age(now.Sub(at))))
}

// Age is a distance in time in its largest unit: "4s", "12m", "3h", "9d".
func Age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(max(0, int(d.Seconds()))) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

// Took is how long something took, to three digits at most: "840 ms", "1.24 s", "2m 5s".
func Took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "<1 ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
}

func hashAssets() map[string]string {
	files, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		panic(err)
	}
	out := map[string]string{}
	for _, f := range files {
		b, err := assetFiles.ReadFile(path.Join("assets", f.Name()))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(b)
		out[f.Name()] = "/assets/" + f.Name() + "?v=" + hex.EncodeToString(sum[:6])
	}
	return out
}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if _, ok := assets[name]; !ok {
		http.NotFound(w, r)
		return
	}
	if "/assets/"+name+"?"+r.URL.RawQuery == assets[name] {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeFileFS(w, r, assetFiles, "assets/"+name)
}
