package blankproof

import (
	"encoding/json"
	"os"

	"bootagent/pkg/block"
)

// A Proof is what a child tells the agent while it reads a disk: how far it has
// come, and in the end what is there.
type Proof struct {
	Read   block.Bytes `json:"read,omitempty"`
	Of     block.Bytes `json:"of,omitempty"`
	Report *Report     `json:"report,omitempty"`
}

// WriteProof puts a proof into a file that is there.
func WriteProof(path string, p Proof) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// ReadProof reads what a child wrote last. It may be in the middle of that.
func ReadProof(path string) (p Proof, err error) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	return p, err
}
