package control

import (
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/util/validation"
)

// decodeNode reads what a request asks for. The name becomes a folder and an object, so nothing that is not a plain
// name gets past here.
func decodeNode(r io.Reader) (Node, error) {
	var n Node
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&n); err != nil {
		return Node{}, fmt.Errorf("reading the request: %w", err)
	}
	return n, n.Check()
}

// Check says what is wrong with a node that is asked for.
func (n Node) Check() error {
	if n.Name != "" {
		if wrong := validation.IsDNS1123Label(n.Name); len(wrong) > 0 {
			return fmt.Errorf("node name %q: want at most 63 of a-z, 0-9 and -, beginning and ending with one of the first two", n.Name)
		}
	}
	if wrong := validation.IsValidLabelValue(n.Zone); len(wrong) > 0 {
		return fmt.Errorf("zone %q: want at most 63 letters, digits, - and _, beginning and ending with one of the first two", n.Zone)
	}
	if n.CPUMillis < 0 || n.MemoryBytes < 0 {
		return errNegative
	}
	return nil
}
