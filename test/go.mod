module bootagent/test

go 1.26

require (
	bootagent v0.0.0
	github.com/go-sql-driver/mysql v1.10.1
)

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
)

replace bootagent => ../
