volume data: find
volume data: claim
    after volume data: find
volume data: attach
    after volume data: claim
volume data: device
    after volume data: attach
volume data: prove
    after volume data: device
volume data: prepare
    after volume data: prove
volume data: mount
    after volume data: prepare
volume data: ledger
    after volume data: mount
volume data: intent
    after volume data: ledger
data mysql: engine
data mysql: directory
    after data mysql: engine, volume data: ledger
data mysql: bind
    after data mysql: directory
key
secret root-sql: fetch
secret root-sql: decrypt
    after key, secret root-sql: fetch
service mariadb.service: grant
    after data mysql: bind, volume data: ledger, secret root-sql: decrypt
service mariadb.service: up
    after service mariadb.service: grant
