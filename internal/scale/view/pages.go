package view

import (
	"embed"

	"github.com/escale-dev/escale/internal/web"
)

//go:embed *.html
var files embed.FS

// The templates of the pages: Overall shows a Scaling, One a WorkloadPage.
var (
	Overall = web.Parse(files, "parts.html", "scaling.html")
	One     = web.Parse(files, "parts.html", "workload.html")
)
