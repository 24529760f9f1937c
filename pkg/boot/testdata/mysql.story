volume data: device
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
service mariadb.service: grant
    after data mysql: bind, volume data: ledger
service mariadb.service: up
    after service mariadb.service: grant
