from boxcar.cli import main

main()
