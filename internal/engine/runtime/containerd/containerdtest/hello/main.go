// Command hello is the program inside the images of the containerd tests: it answers requests with $GREETING and ends
// when asked for /exit. With the arguments "say TEXT" it prints the text, with "pause" it only holds a pod's namespaces.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "say" {
		fmt.Print(os.Args[2])
		return
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if len(os.Args) == 1 {
		http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getenv("GREETING")) })
		http.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(0) })
		go func() { log.Fatal(http.ListenAndServe(":8080", nil)) }()
	}
	<-stop
}
