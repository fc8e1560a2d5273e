package view

import (
	"embed"

	"github.com/escale-dev/escale/internal/web"
)

//go:embed *.html
var files embed.FS

// The templates of the pages: Overall shows a Traffic, One a RoutePage.
var (
	Overall = web.Parse(files, "traffic.html")
	One     = web.Parse(files, "route.html")
)
