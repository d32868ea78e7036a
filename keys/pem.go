package keys

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
)

// readPEM returns what stands in the blocks of a text, of which there must be one. With alone nothing may stand between them;
// otherwise it is a comment.
func readPEM(data []byte, kind string, alone bool) ([][]byte, error) {
	begin := []byte("-----BEGIN")
	var blocks [][]byte
	for {
		if alone {
			data = bytes.TrimLeft(data, "\r\n")
			if len(data) > 0 && !bytes.HasPrefix(data, begin) {
				return nil, errors.New("something else stands beside the PEM")
			}
		}
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		// Decode passes over what it cannot read.
		if passed := data[:len(data)-len(rest)]; bytes.Count(passed, begin) != 1 {
			return nil, fmt.Errorf("block %d or one before it is not PEM", len(blocks)+1)
		}
		if block.Type != kind || len(block.Headers) > 0 {
			return nil, fmt.Errorf("block %d is no plain %s", len(blocks)+1, kind)
		}
		blocks, data = append(blocks, block.Bytes), rest
	}
	switch {
	case bytes.Contains(data, begin):
		return nil, fmt.Errorf("what begins after block %d does not end", len(blocks))
	case len(blocks) == 0:
		return nil, fmt.Errorf("no %s in PEM", kind)
	}
	return blocks, nil
}
