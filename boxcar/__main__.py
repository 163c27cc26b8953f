from boxcar.cli.main import main

main()
