// Platforms says which tests run on which platform of the lab, and writes the page that shows how they
// ended.
//
//	platforms suite NAME       prints the arguments with which test/summary runs the tests of a platform
//	platforms suite -ci NAME   the same, of the part that make test runs
//	platforms page DIR         writes docs/platforms.md from the results of test/summary in DIR
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bootagent/test/lab/image"
)

// pagePath is where the page is, from test/.
const pagePath = "../docs/platforms.md"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "platforms:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "suite" && args[1] == "-ci":
		return printSuite(args[2], true)
	case len(args) == 2 && args[0] == "suite":
		return printSuite(args[1], false)
	case len(args) == 2 && args[0] == "page":
		found, err := read(args[1])
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.FromSlash(pagePath), []byte(page(found)), 0o644)
	}
	return fmt.Errorf("expected: suite [-ci] NAME, or page DIR")
}

func printSuite(name string, ci bool) error {
	on, err := image.Named(name)
	if err != nil {
		return err
	}
	arguments, err := suite(on, ci)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(arguments, " "))
	return nil
}
